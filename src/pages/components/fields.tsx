// Labeled fields of forms, each with a line of help and a line that says what is wrong. Values are texts, as typed.
import type {
  ComponentChildren,
  PartialInputHTMLAttributes,
  PartialSelectHTMLAttributes,
  TextareaHTMLAttributes,
} from 'preact';

interface FieldProps {
  /** The control's; the texts below it are `ID-help` and `ID-problem`. */
  readonly id: string;
  readonly label: ComponentChildren;
  readonly help?: ComponentChildren;
  /** Why the value cannot be used. */
  readonly problem?: string | undefined;
}

/** Other attributes of the control. */
type Rest<Attributes> = Omit<
  Attributes,
  keyof FieldProps | 'role' | 'type' | 'size' | 'value' | 'checked' | 'onInput' | 'onChange'
>;
type Input = Rest<PartialInputHTMLAttributes<HTMLInputElement>>;
type Select = Rest<PartialSelectHTMLAttributes<HTMLSelectElement>>;
type Area = Rest<TextareaHTMLAttributes<HTMLTextAreaElement>>;

/** A label, its control, and the texts below it. */
export function Field({
  children,
  ...field
}: FieldProps & { readonly children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={field.id}>{field.label}</label>
      {children}
      <Notes {...field} />
    </div>
  );
}

function Notes({ id, help, problem }: FieldProps) {
  return (
    <>
      {help && (
        <p class="help" id={`${id}-help`}>
          {help}
        </p>
      )}
      {problem && (
        <p class="problem" id={`${id}-problem`} role="alert">
          {problem}
        </p>
      )}
    </>
  );
}

/** Splits what a field shows from the attributes of its control, which refers to the texts below it. */
function split<Props extends FieldProps>({ id, label, help, problem, ...rest }: Props) {
  const texts = [help && `${id}-help`, problem && `${id}-problem`].filter(Boolean).join(' ');
  const control = {
    ...rest,
    id,
    ...(texts && { 'aria-describedby': texts }),
    ...(problem && { 'aria-invalid': true }),
  };
  return { field: { id, label, help, problem }, control };
}

type TextProps = FieldProps & {
  readonly value: string;
  readonly onInput: (value: string) => void;
};

/** A field of one line. */
export function TextField({
  onInput,
  type = 'text',
  ...props
}: TextProps & Input & { readonly type?: 'text' | 'number' | 'password' | 'search' }) {
  const { field, control } = split(props);
  return (
    <Field {...field}>
      <input
        {...control}
        {...({ type } as { type: 'text' })} // Preact types inputs by `type`
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </Field>
  );
}

/** A field of several lines. */
export function AreaField({ onInput, ...props }: TextProps & Area) {
  const { field, control } = split(props);
  return (
    <Field {...field}>
      <textarea {...control} onInput={(event) => onInput(event.currentTarget.value)} />
    </Field>
  );
}

/** A field for a number. Its value is empty while the browser cannot read a number. */
export function NumberField({
  isInteger = false,
  ...props
}: TextProps & Input & { readonly isInteger?: boolean | undefined }) {
  const kind = isInteger
    ? ({ step: 1, inputMode: 'numeric' } as const)
    : ({ step: 'any', inputMode: 'decimal' } as const);
  return <TextField {...kind} {...props} type="number" />;
}

type ChoiceProps = FieldProps & {
  readonly options: readonly (readonly [value: string, text: string])[];
  readonly value: string;
  readonly onChange: (value: string) => void;
};

/** A field with a choice. */
export function ChoiceField({ options, onChange, ...props }: ChoiceProps & Select) {
  const { field, control } = split(props);
  return (
    <Field {...field}>
      <select {...control} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </Field>
  );
}

type CheckProps = FieldProps & {
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
};

/** A checkbox with its label. */
export function CheckField({ onChange, ...props }: CheckProps & Input) {
  const { field, control } = split(props);
  return (
    <>
      <label class="check">
        <input
          {...control}
          type="checkbox"
          onChange={(event) => onChange(event.currentTarget.checked)}
        />
        {field.label}
      </label>
      <Notes {...field} />
    </>
  );
}
