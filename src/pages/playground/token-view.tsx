// The tokens of an answer, colored by probability. A selected token shows its alternatives.
import { useState } from 'preact/hooks';
import type { ChatTokenLogprob } from '../../contracts/openai.ts';
import { ShareRow } from '../components/share-row.tsx';

/** A row of tokens. One of them is in the tab order; arrow keys move between them. */
export function TokenView({ tokens }: { readonly tokens: readonly ChatTokenLogprob[] }) {
  const [selected, select] = useState<number>();
  const onKeyDown = (event: KeyboardEvent & { currentTarget: HTMLElement }) => {
    const offset = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (offset === undefined) return;
    event.preventDefault();
    const next = event.currentTarget.children[(selected ?? 0) + offset];
    (next as HTMLElement | undefined)?.focus();
  };
  const token = tokens[selected ?? -1];
  return (
    <div>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms */}
      <div class="tokens" role="group" aria-label="Tokens" onKeyDown={onKeyDown}>
        {tokens.map((one, i) => (
          <button
            key={i}
            type="button"
            class={`token ${levelOf(one)}`}
            tabIndex={i === (selected ?? 0) ? 0 : -1}
            aria-pressed={i === selected}
            onClick={() => select(i)}
            onFocus={() => select(i)}
          >
            {visible(one.token)}
          </button>
        ))}
      </div>
      <div class="alternatives" aria-live="polite">
        {token ? (
          <Alternatives token={token} />
        ) : (
          <p class="help">Select a token to see its alternatives.</p>
        )}
      </div>
    </div>
  );
}

function Alternatives({ token }: { readonly token: ChatTokenLogprob }) {
  const isListed = token.top_logprobs.some((one) => one.token === token.token);
  const all = [...(isListed ? [] : [token]), ...token.top_logprobs];
  return all.map((one) => (
    <ShareRow
      key={one.token}
      name={visible(one.token)}
      share={Math.exp(one.logprob)}
      isChosen={one.token === token.token}
    />
  ));
}

function levelOf({ logprob }: ChatTokenLogprob): string {
  const share = Math.exp(logprob);
  if (share >= 0.9) return 'sure';
  return share >= 0.5 ? 'likely' : 'unsure';
}

/** Shows blanks as signs, alone also a space: a button needs a name. */
function visible(token: string): string {
  const shown = token.replaceAll('\n', '↵').replaceAll('\t', '⇥') || '∅';
  return /^[\p{Z}\p{C}]+$/u.test(shown) ? shown.replace(/./gu, '␣') : shown;
}
