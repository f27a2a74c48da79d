// A text field with a list of suggestions (ARIA's combobox). Values that are not in the list can be typed.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { Field } from './fields.tsx';

/** Longer lists are narrowed by typing. */
const MAX_SHOWN = 50;

/** A suggestion. */
export interface ComboboxItem {
  readonly value: string;
  readonly note?: string | undefined;
}

interface ComboboxProps {
  readonly id: string;
  readonly label: string;
  readonly help?: string;
  readonly items: readonly ComboboxItem[];
  readonly value: string;
  /** Called when a value was picked, or typed and left. */
  readonly onChange: (value: string) => void;
  /** Whether the list is open from the start, in a dialog that Escape closes. */
  readonly isOpenFirst?: boolean;
}

/** The open list: the items that contain the typed text, and the one that Enter picks. */
interface OpenList {
  readonly query: string;
  readonly active: number;
}

/** A labeled text field with suggestions. */
export function Combobox({
  id,
  label,
  help,
  items,
  value,
  onChange,
  isOpenFirst = false,
}: ComboboxProps) {
  /** Undefined unless the user is typing. */
  const [typed, setTyped] = useState<string>();
  const [list, setList] = useState<OpenList | undefined>(
    isOpenFirst ? { query: '', active: 0 } : undefined,
  );
  const active = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => active.current?.scrollIntoView({ block: 'nearest' }), [list?.active]);

  const matching = (query: string) =>
    items.filter((item) => item.value.toLowerCase().includes(query.trim().toLowerCase()));
  const matches = list ? matching(list.query) : [];
  const shown = matches.slice(0, MAX_SHOWN);
  const isOpen = shown.length > 0;
  const open = (query: string, current: string) => {
    const at = matching(query).findIndex((item) => item.value === current.trim());
    const none = isOpenFirst ? 0 : -1;
    setList({ query, active: at >= 0 && at < MAX_SHOWN ? at : none });
  };
  const close = () => setList(undefined);
  const pick = (picked: string) => {
    setTyped(undefined);
    close();
    onChange(picked);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const { key } = event;
    if (key === 'ArrowDown' || key === 'ArrowUp') {
      if (!isOpen) open('', typed ?? value);
      else {
        const next = list!.active + (key === 'ArrowDown' ? 1 : -1);
        setList({ ...list!, active: (next + shown.length) % shown.length });
      }
    } else if (key === 'Enter' && isOpen && shown[list!.active]) pick(shown[list!.active]!.value);
    else if (key === 'Escape' && isOpen && !isOpenFirst) close();
    else if (key === 'Enter') return close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <Field id={id} label={label} help={help}>
      <div class="combo">
        <input
          id={id}
          type="text"
          role="combobox"
          autofocus={isOpenFirst}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          aria-autocomplete="list"
          aria-expanded={isOpen}
          aria-controls={`${id}-list`}
          aria-activedescendant={
            isOpen && list!.active >= 0 ? `${id}-list-${list!.active}` : undefined
          }
          aria-describedby={help && `${id}-help`}
          value={typed ?? value}
          onClick={() => open('', typed ?? value)}
          onInput={({ currentTarget }) => {
            setTyped(currentTarget.value);
            open(currentTarget.value, currentTarget.value);
          }}
          onKeyDown={onKeyDown}
          onBlur={() => {
            close();
            setTyped(undefined); // after a change, if there was one
          }}
          onChange={({ currentTarget }) => pick(currentTarget.value.trim())}
        />
        {/* A press would take the focus from the field, which would close the list first. */}
        <div
          id={`${id}-list`}
          role="listbox"
          aria-label={label}
          hidden={!isOpen}
          onPointerDown={(event) => event.preventDefault()}
        >
          {shown.map((item, i) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: keys go to the field
            <div
              key={item.value}
              id={`${id}-list-${i}`}
              ref={i === list?.active ? active : null}
              role="option"
              tabIndex={-1}
              aria-selected={i === list?.active}
              onClick={() => pick(item.value)}
            >
              <span>{item.value}</span>
              {item.note && <small class="help">{item.note}</small>}
            </div>
          ))}
          {matches.length > shown.length && (
            <div class="help" role="presentation">
              {matches.length - shown.length} more. Type to narrow the list.
            </div>
          )}
        </div>
      </div>
    </Field>
  );
}
