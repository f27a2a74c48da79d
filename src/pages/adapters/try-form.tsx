// A form to try an adapter that does not chat: a classifier sorts a text into classes, an embedding adapter compares two texts.
import { useState } from 'preact/hooks';
import { errorText } from '../api.ts';
import { AreaField } from '../components/fields.tsx';
import { Panel } from '../components/parts.tsx';
import { ShareRow } from '../components/share-row.tsx';
import { classify, compare, type NamedShare } from './answers.ts';

interface TryFormProps {
  readonly model: string;
  /** The base, which shows what training has changed; undefined: the model is a classifier. */
  readonly base: string | undefined;
  readonly examples: readonly string[];
}

/** The form, and the outcome. */
export function TryForm({ model, base, examples }: TryFormProps) {
  const labels = base === undefined ? ['Text'] : ['First text', 'Second text'];
  const [texts, setTexts] = useState(() => labels.map((_, i) => examples[i] ?? ''));
  const [outcome, setOutcome] = useState<readonly NamedShare[] | string>();
  const run = (event: Event) => {
    event.preventDefault();
    const shares = base === undefined ? classify(model, texts[0]!) : compare([model, base], texts);
    shares.then(setOutcome, (error) => setOutcome(errorText(error)));
  };
  return (
    <Panel id="try" title={base === undefined ? 'Classify a text' : 'Compare two texts'}>
      <form onSubmit={run}>
        <div class="settings-grid">
          {labels.map((label, i) => (
            <AreaField
              key={label}
              id={`try-${i}`}
              label={label}
              required
              value={texts[i]!}
              onInput={(text) => setTexts((now) => now.with(i, text))}
            />
          ))}
        </div>
        <button type="submit" class="primary">
          {base === undefined ? 'Classify' : 'Compare'}
        </button>
        <div class="alternatives" role="status" hidden={!outcome}>
          {typeof outcome === 'string' ? (
            <p class="problem">{outcome}</p>
          ) : (
            outcome?.map((row, i) => <ShareRow key={row.name} {...row} isChosen={i === 0} />)
          )}
          {base !== undefined && (
            <p class="help">Cosine similarity: 1 means the same direction, 0 means unrelated.</p>
          )}
        </div>
      </form>
    </Panel>
  );
}
