// A call of the API as code, with a tab for each language, by ARIA's pattern: one tab is in the tab order, and arrow keys move
// between them.
import { signal } from '@preact/signals';
import { type ApiCall, LANGUAGES } from '../client-code.ts';
import { apiKey } from '../key.ts';
import { CopyButton } from './copy-button.tsx';

/** The address of the server, which the page's own address may continue. */
export const SERVER = new URL('.', document.baseURI).href.slice(0, -1);

const NAMES = Object.keys(LANGUAGES);
/** The language that the user chose last. */
const language = signal(NAMES[0]!);

interface CodeTabsProps {
  /** The list of languages is `ID-tabs`, the code's panel `ID-panel`. */
  readonly id: string;
  readonly call: Omit<ApiCall, 'server' | 'hasKeys'>;
}

/** The code with its languages, and a button that copies it. */
export function CodeTabs({ id, call }: CodeTabsProps) {
  const selected = language.value;
  const code = LANGUAGES[selected]!({ ...call, server: SERVER, hasKeys: apiKey() !== undefined });
  const onKeyDown = (event: KeyboardEvent & { currentTarget: HTMLElement }) => {
    const offset = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (offset === undefined) return;
    event.preventDefault();
    const next = (NAMES.indexOf(selected) + offset + NAMES.length) % NAMES.length;
    language.value = NAMES[next]!;
    (event.currentTarget.children[next] as HTMLElement).focus();
  };
  return (
    <figure class="code">
      <div
        class="tabs"
        role="tablist"
        id={`${id}-tabs`}
        aria-label="Language"
        onKeyDown={onKeyDown}
      >
        {NAMES.map((name, i) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`${id}-tab-${i}`}
            aria-selected={name === selected}
            aria-controls={`${id}-panel`}
            tabIndex={name === selected ? 0 : -1}
            onClick={() => {
              language.value = name;
            }}
          >
            {name}
          </button>
        ))}
      </div>
      <div
        role="tabpanel"
        id={`${id}-panel`}
        aria-labelledby={`${id}-tab-${NAMES.indexOf(selected)}`}
      >
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms */}
        <pre class={selected.toLowerCase()} tabIndex={0} role="group" aria-label="Code">
          <code>{code}</code>
        </pre>
      </div>
      <CopyButton read={() => code} what="the code" />
    </figure>
  );
}
