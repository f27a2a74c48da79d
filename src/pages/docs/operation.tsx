// One operation of the API docs: a form that sends it with the user's key, its code with a variable in place of the key, and
// the fields of its request and its responses.
import { useEffect, useRef } from 'preact/hooks';
import { saveBlob } from '../browser.ts';
import { CodeTabs } from '../components/code-tabs.tsx';
import { AreaField, Field, TextField } from '../components/fields.tsx';
import { Problem } from '../components/problem.tsx';
import { duration, size } from '../format.ts';
import type { Operation, Schemas } from './document.ts';
import { FieldLists, Marked, More, Nested } from './field-list.tsx';
import type { Answer, FormField, OperationForm } from './form.ts';
import type { FoundField, FoundOperation } from './search.ts';
import type { DocsStore } from './store.ts';

const MAX_NAMED = 4;

/** An operation. Its content exists once it is opened. */
export function OperationPanel({ found, store }: { found: FoundOperation; store: DocsStore }) {
  const { operation, fields } = found;
  const { id, method, path, summary } = operation;
  const isOpen = store.opened.value.has(id);
  const isTarget = store.target.value === id;
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    if (isTarget) details.current?.scrollIntoView();
  }, [isTarget]);
  return (
    <details
      class="panel operation"
      id={id}
      ref={details}
      open={isOpen}
      onToggle={(event) => store.toggle(id, event.currentTarget.open)}
    >
      <summary>
        <Method name={method} />
        <code>{path}</code>
        <span class="help">
          <Marked text={summary} />
        </span>
        {fields.length > 0 && <FoundFields fields={fields} />}
      </summary>
      {isOpen && <OperationContent found={found} store={store} />}
    </details>
  );
}

/** The method of an operation, in its color. */
export function Method({ name }: { readonly name: string }) {
  return <span class={`method ${name.toLowerCase()}`}>{name}</span>;
}

function FoundFields({ fields }: { readonly fields: readonly FoundField[] }) {
  const paths = [...new Set(fields.map(({ path }) => path))];
  const more = paths.length - MAX_NAMED;
  return (
    <span class="found">
      {paths.slice(0, MAX_NAMED).map((path) => (
        <code key={path}>{path}</code>
      ))}
      {more > 0 && <span class="help">and {more} more</span>}
    </span>
  );
}

function OperationContent({ found, store }: { found: FoundOperation; store: DocsStore }) {
  const { operation, fields } = found;
  const schemas = store.schemas.value;
  const hits = (place: FoundField['place']) =>
    fields.filter((one) => one.place === place).map((one) => one.path);
  const [body] = Object.values(operation.requestBody?.content ?? {});
  return (
    <div>
      <SendForm id={operation.id} form={store.formOf(operation)} />
      {body && (
        <>
          <h3>Fields of the request</h3>
          <FieldLists schema={body.schema} schemas={schemas} hits={hits('request')} isSorted />
        </>
      )}
      <h3>Responses</h3>
      <Responses operation={operation} schemas={schemas} hits={hits('response')} />
    </div>
  );
}

function SendForm({ id, form }: { id: string; form: OperationForm }) {
  const body = form.body.value;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void form.send();
      }}
    >
      {form.fields.map((field) => (
        <FormInput key={field.id} field={field} form={form} />
      ))}
      {body !== undefined && (
        <AreaField
          id={`${id}-body`}
          label="Request body"
          rows={4}
          spellcheck={false}
          value={body}
          onInput={(text) => {
            form.body.value = text;
          }}
        />
      )}
      <CodeTabs id={`${id}-code`} call={form.call.value} />
      <div class="row end">
        <button type="submit" class="primary">
          Send
        </button>
      </div>
      <Result form={form} />
    </form>
  );
}

function FormInput({ field, form }: { field: FormField; form: OperationForm }) {
  const { id, name, label, isRequired: required, isFile, placeholder } = field;
  const change = (value: string | File) => form.change(name, value);
  if (!isFile) {
    const value = String(form.values.value[name]);
    return <TextField {...{ id, label, required, placeholder, value, onInput: change }} />;
  }
  return (
    <Field id={id} label={label}>
      <input
        id={id}
        type="file"
        required={required}
        onChange={({ currentTarget: { files } }) => files?.[0] && change(files[0])}
      />
    </Field>
  );
}

function Result({ form }: { form: OperationForm }) {
  const sending = form.sending.value;
  return (
    <div class="result" aria-live="polite">
      {sending.kind === 'waiting' && <p class="help">Waiting …</p>}
      {sending.kind === 'failed' && <Problem text="The server does not answer." />}
      {sending.kind === 'answered' && <AnswerView answer={sending} />}
    </div>
  );
}

function AnswerView({ answer: { status, seconds, content, text } }: { answer: Answer }) {
  return (
    <>
      <p>
        <span class={`pill ${status < 400 ? 'succeeded' : 'failed'}`}>{status}</span>{' '}
        {duration(seconds)}, {size(content.size)}
      </p>
      {text === undefined ? (
        <div class="row">
          <button type="button" onClick={() => saveBlob(content, 'response')}>
            Save the response
          </button>
        </div>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
        // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms
        <pre tabIndex={0} role="group" aria-label="Response">
          {text}
        </pre>
      )}
    </>
  );
}

interface ResponsesProps {
  readonly operation: Operation;
  readonly schemas: Schemas;
  readonly hits: readonly string[];
}

function Responses({ operation, schemas, hits }: ResponsesProps) {
  const all = Object.entries(operation.responses);
  const errors = all.filter(([status]) => Number(status) >= 400);
  const list = (responses: typeof all) => (
    <ul class="fields">
      {responses.map(([status, { description, content = {} }]) => (
        <li key={status}>
          <code>{status}</code> <Marked text={description} />
          {Object.entries(content).map(([type, one]) => (
            <Nested key={type} schema={one.schema} schemas={schemas} hits={hits} />
          ))}
        </li>
      ))}
    </ul>
  );
  // All errors have the same fields.
  const [error] = Object.values(errors[0]?.[1].content ?? {});
  const described = errors.map(([status, { description }]): (typeof all)[number] => [
    status,
    { description },
  ]);
  return (
    <>
      {list(all.filter((one) => !errors.includes(one)))}
      <More
        title={`Errors (${errors.length})`}
        render={() => (
          <>
            {list(described)}
            {error && <Nested schema={error.schema} schemas={schemas} hits={[]} />}
          </>
        )}
      />
    </>
  );
}
