// A field that searches a list.
import type { ReadonlySignal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useRef } from 'preact/hooks';

interface SearchFieldProps {
  readonly id: string;
  /** For screen readers. */
  readonly label: string;
  /** Default: the label. */
  readonly placeholder?: string;
  readonly value: ReadonlySignal<string>;
  readonly onInput: (text: string) => void;
  readonly ref?: RefObject<HTMLInputElement | null>;
}

/** The field. */
export function SearchField({
  id,
  label,
  placeholder = label,
  value,
  onInput,
  ref = useRef(null),
}: SearchFieldProps) {
  return (
    <search class="search">
      <label class="hidden" for={id}>
        {label}
      </label>
      <input
        id={id}
        ref={ref}
        type="search"
        placeholder={placeholder}
        autocomplete="off"
        spellcheck={false}
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
    </search>
  );
}
