// The dialog that gives a version all requests of an alias, or a share of them, after a look at its figures next to those of the
// current version. Their answers are compared in the playground.
import { useLayoutEffect, useState } from 'preact/hooks';
import { Dialog } from '../components/dialog.tsx';
import { ChoiceField, Field, TextField } from '../components/fields.tsx';
import { Table } from '../components/parts.tsx';
import { TryLink } from '../components/try-link.tsx';
import { dateAndTime, size } from '../format.ts';
import { type AdapterProps, moveTo } from '../store/adapter.ts';
import { modelOf, releaseText, withShare } from '../store/release-plan.ts';
import { evaluationText, isMadeByJob, kindOf, type Version } from './facts.ts';

/** The rows of the figures. */
const FIGURES: readonly (readonly [name: string, read: (version: Version) => string])[] = [
  ['Evaluation', (version) => evaluationText(version) || 'none'],
  ['Created', ({ created_at: createdS }) => dateAndTime(createdS)],
  ['Rank', ({ rank }) => String(rank)],
  ['Size', ({ bytes }) => size(bytes)],
  ['Training file', ({ training: of }) => (of ? size(of.training_file.bytes) : 'not recorded')],
];

interface ReleaseDialogProps extends AdapterProps {
  /** The version that it proposes; undefined: it is closed. */
  readonly version: number | undefined;
  readonly onClose: () => void;
}

const START = { candidate: 0, alias: 'latest', percent: 100 };

/** The dialog. */
export function ReleaseDialog({ adapter, store, version, onClose }: ReleaseDialogProps) {
  const [draft, setDraft] = useState(START);
  useLayoutEffect(() => setDraft({ ...START, candidate: version ?? 0 }), [version]);
  const set = (part: Partial<typeof draft>) => setDraft((now) => ({ ...now, ...part }));
  const { candidate, alias, percent } = draft;
  const aliases = adapter.aliases.filter((one) => !isMadeByJob(one));
  const current = aliases.find((one) => one.alias === alias)?.leads_to;
  const [largest] = (current ?? [])
    .filter((one) => one.version !== candidate)
    .sort((a, b) => b.percent - a.percent);
  const next = withShare(current ?? [], candidate, percent);
  const text = releaseText(modelOf(adapter.name, alias), current, next);
  const compared = [largest?.version, candidate].flatMap(
    (number) => adapter.versions.find((one) => one.version === number) ?? [],
  );
  const models = compared.map((one) => `${adapter.name}@${one.version}`);
  const [prompt] = adapter.about.examples;
  const close = (value: string) => {
    if (value === 'yes') void store.change(moveTo(alias, next));
    onClose();
  };
  return (
    <Dialog
      id="release"
      title={`Release a version of ${adapter.name}`}
      isOpen={version !== undefined}
      onClose={close}
      isWide
    >
      <form method="dialog">
        <div class="settings-grid">
          <ChoiceField
            id="release-version"
            label="Version"
            options={adapter.versions.map((one) => [String(one.version), `Version ${one.version}`])}
            value={String(candidate)}
            onChange={(value) => set({ candidate: Number(value) })}
          />
          <TextField
            id="release-alias"
            label="Alias"
            help="latest is the name alone; a new name makes a new alias"
            {...{ list: 'release-aliases' }} // Preact types inputs by `type`
            required
            maxLength={63}
            pattern="[A-Za-z0-9_][A-Za-z0-9._\-]*"
            autocomplete="off"
            spellcheck={false}
            value={alias}
            onInput={(text) => set({ alias: text })}
          />
          <datalist id="release-aliases">
            {aliases.map((one) => (
              <option key={one.alias} value={one.alias} />
            ))}
          </datalist>
          <Field id="release-share" label={`Share of requests: ${largest ? percent : 100}%`}>
            <input
              id="release-share"
              type="range"
              min={1}
              max={100}
              value={percent}
              disabled={!largest}
              onInput={(event) => set({ percent: event.currentTarget.valueAsNumber })}
            />
          </Field>
        </div>
        <p class="warning" id="release-says" role="status">
          {text || 'That is how it is now.'}
        </p>
        <div id="release-figures">
          <Table
            isMatrix
            caption="Figures of the versions"
            columns={['', ...compared.map((one) => `Version ${one.version}`)]}
            rows={FIGURES.map(([name, read]) => [name, ...compared.map(read)])}
          />
        </div>
        {models[0] && kindOf(adapter) !== 'embedding' && (
          <p>
            Compare their answers in the playground:{' '}
            <TryLink model={models[0]} beside={models[1]} filled={prompt ? { prompt } : {}} />
          </p>
        )}
        <div class="row end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" value="yes" class="primary" id="release-yes" disabled={text === ''}>
            Release
          </button>
        </div>
      </form>
    </Dialog>
  );
}
