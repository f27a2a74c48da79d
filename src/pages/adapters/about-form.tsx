// The form for what an adapter is for: kind, description, tags and example prompts. A save replaces only the text that the form
// was filled with; if somebody else has changed it meanwhile, the user sees that text before replacing it.
import { useState } from 'preact/hooks';
import type { Adapter } from '../../contracts/management-api.ts';
import { ApiError, errorText } from '../api.ts';
import { AreaField, ChoiceField, TextField } from '../components/fields.tsx';
import { Problem } from '../components/problem.tsx';
import type { AdapterProps } from '../store/adapter.ts';
import { kindOf, wordsOf } from './facts.ts';

const KINDS = [
  ['chat', 'Chat'],
  ['embedding', 'Embeddings'],
] as const;

/** The folded form. */
export function AboutForm({ adapter, store }: AdapterProps) {
  const [draft, setDraft] = useState(() => draftOf(adapter));
  const [problem, setProblem] = useState('');
  const set = (part: Partial<Draft>) => setDraft((now) => ({ ...now, ...part }));
  const field = (name: 'description' | 'tags' | 'examples') => ({
    id: name,
    value: draft[name],
    autocomplete: 'off',
    onInput: (value: string) => set({ [name]: value }),
  });
  const save = async (event: Event) => {
    event.preventDefault();
    try {
      await store.send({ path: '', json: toAbout(draft) });
      setProblem('');
    } catch (error) {
      const isOutdated = error instanceof ApiError && error.status === 412;
      if (isOutdated) await store.refresh();
      const newest = store.adapter.value?.about.description;
      setProblem(
        isOutdated
          ? `Someone else has written meanwhile: “${newest}”. Save again to replace it.`
          : errorText(error),
      );
    }
    set({ revision: store.adapter.value?.about.revision ?? 0 });
  };
  return (
    <details class="more" id="about">
      <summary>Describe</summary>
      <form onSubmit={save}>
        <TextField
          {...field('description')}
          label="Description"
          help="One sentence: what does it do, and for whom?"
          maxLength={500}
        />
        <div class="settings-grid">
          <TextField {...field('tags')} label="Tags" help="Separated by commas" />
          {kindOf(adapter) !== 'classifier' && (
            <ChoiceField
              id="kind"
              label="Used for"
              options={KINDS}
              value={draft.kind}
              onChange={(kind) => set({ kind: kind as Draft['kind'] })}
            />
          )}
        </div>
        <AreaField {...field('examples')} label="Example prompts" help="One per line, up to five" />
        <Problem text={problem} />
        <button type="submit" class="primary">
          Save
        </button>
      </form>
    </details>
  );
}

type Draft = ReturnType<typeof draftOf>;

function draftOf({ about }: Adapter) {
  return { ...about, tags: about.tags.join(', '), examples: about.examples.join('\n') };
}

function toAbout({ tags, examples, description, ...others }: Draft) {
  return {
    ...others,
    description: description.trim(),
    tags: wordsOf(tags, ','),
    examples: wordsOf(examples, '\n'),
  };
}
