// The form of a new job.
import { useEffect } from 'preact/hooks';
import type { Objective } from '../../../contracts/preference-settings.ts';
import type { FormField } from '../../../contracts/training-fields.ts';
import { Combobox } from '../../components/combobox.tsx';
import { ChoiceField, TextField } from '../../components/fields.tsx';
import { Problem } from '../../components/problem.tsx';
import { fieldFault, fieldsOf } from './draft.ts';
import { FileFields } from './file-fields.tsx';
import { GraderSection } from './grader-section.tsx';
import './new-job.css';
import { Plan } from './plan.tsx';
import { createNewJob, type NewJobStore, type Repeated, type StoreProps } from './store.ts';
import { TableDialog } from './table-dialog.tsx';

const METHODS: Readonly<Record<Objective, string>> = {
  supervised: 'Supervised: examples',
  dpo: 'Preference (DPO): pairs of outputs',
  reinforcement: 'Reinforcement: rewards',
};
/** Longer names do not fit into their field. */
const MAX_NAME = 28;

interface NewJobProps {
  /** Called with the id of a job that the user has started. */
  readonly onCreated: (id: string) => void;
  readonly repeated: Repeated | undefined;
}

/** The page has one form, which keeps its files while another view is on screen. */
let created: NewJobStore | undefined;

export type { Repeated } from './store.ts';

/** The form. */
export function NewJob({ onCreated, repeated }: NewJobProps) {
  created ??= createNewJob(onCreated);
  const store = created;
  useEffect(() => {
    if (repeated) void store.repeat(repeated);
  }, [repeated]);
  useEffect(ignoreDrops, []);
  return (
    <>
      <form
        id="new-job"
        class="columns"
        aria-label="New job"
        onSubmit={(event) => {
          event.preventDefault();
          void store.start();
        }}
      >
        <section class="panel" aria-label="Files and settings">
          <FileFields store={store} />
          <Settings store={store} hasChanges={Object.keys(repeated?.changes ?? {}).length > 0} />
          <button type="button" class="quiet small" onClick={store.clear}>
            Clear the form
          </button>
        </section>
        <section class="panel plan" aria-labelledby="plan-title" aria-live="polite">
          <div class="head">
            <h2 id="plan-title">Plan</h2>
            <button
              type="submit"
              id="start-button"
              class="primary"
              aria-disabled={!store.canStart.value}
            >
              {store.isStarting.value ? 'Starting …' : 'Start training'}
            </button>
          </div>
          <Problem id="start-problem" text={store.problem.value} />
          <Plan store={store} />
        </section>
      </form>
      <TableDialog store={store} />
    </>
  );
}

function Settings({ store, hasChanges }: StoreProps & { readonly hasChanges: boolean }) {
  const { suffix, model, method, fields } = store.draft.value;
  const { warning, note, isInvalid } = store.name;
  const shown = fieldsOf(method);
  const changed = shown
    .filter(({ id }) => fields[id])
    .map(({ id, label }) => `${label} ${fields[id]}`);
  return (
    <>
      <div class="settings-grid">
        <TextField
          id="suffix"
          label="Adapter name"
          help={
            <span class={warning.value && 'warning'} aria-live="polite">
              {warning.value || note.value}
            </span>
          }
          maxLength={64}
          autocomplete="off"
          spellcheck={false}
          aria-invalid={isInvalid.value}
          value={suffix}
          onInput={(typed) => store.change({ suffix: typed })}
        />
        <Combobox
          id="start-model"
          label="Start from"
          help={model.length > MAX_NAME ? model : ''}
          items={store.models.value}
          value={model}
          onChange={(chosen) => store.change({ model: chosen })}
        />
        <ChoiceField
          id="method"
          label="Method"
          options={Object.entries(METHODS)}
          value={method}
          onChange={(chosen) => store.change({ method: chosen as Objective })}
        />
      </div>
      {method === 'reinforcement' && <GraderSection store={store} />}
      <details class="more" open={hasChanges}>
        <summary>
          Hyperparameters <span class="help">{changed.join(', ')}</span>
        </summary>
        <div class="pair" id="hyperparameters">
          {shown.map((field) => (
            <SettingField key={field.id} store={store} field={field} />
          ))}
        </div>
      </details>
    </>
  );
}

function SettingField({ store, field }: StoreProps & { readonly field: FormField }) {
  const { id, label, placeholder, options, isInteger } = field;
  const value = store.draft.value.fields[id] ?? '';
  const change = (typed: string) => store.changeField(id, typed.trim());
  if (!options)
    return (
      <TextField
        {...{ id, label, value, placeholder, onInput: change }}
        inputMode={isInteger ? 'numeric' : 'decimal'}
        aria-invalid={fieldFault(field, value) !== ''}
      />
    );
  // Until somebody chooses, the arithmetic is the one that the plan recommends.
  const standard = id === 'compute' ? store.recommended.value : '';
  const shown = standard ? options : ['', ...options];
  const choices = shown.map((one) => [one, one || placeholder] as const);
  return (
    <ChoiceField {...{ id, label, onChange: change }} options={choices} value={value || standard} />
  );
}

/** Files that are dropped outside a field are ignored. The browser would leave the page and open them. */
function ignoreDrops() {
  const ignore = (event: DragEvent) => {
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = 'none';
  };
  const stop = new AbortController();
  for (const type of ['dragover', 'drop'] as const) addEventListener(type, ignore, stop);
  return () => stop.abort();
}
