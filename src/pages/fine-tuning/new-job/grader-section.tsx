// The editor of a job's grader, and a trial of it on a row of the training file.
import { AreaField, ChoiceField, Field, NumberField } from '../../components/fields.tsx';
import { Pairs } from '../../components/pairs.tsx';
import { Problem } from '../../components/problem.tsx';
import { figure } from '../../format.ts';
import { faultsOf, PYTHON, rowText, TEMPLATES, templateOf } from './grader.ts';
import { Example } from './plan.tsx';
import type { StoreProps } from './store.ts';

/** The editor. */
export function GraderSection({ store }: StoreProps) {
  const { grader: editor } = store;
  const { grader } = store.draft.value;
  const isBad = editor.isBad.value;
  const templates = TEMPLATES.filter(({ id }) => id !== PYTHON || editor.hasPython.value);
  return (
    <div id="grader-section" class="editor">
      <ChoiceField
        id="grader-template"
        label="Reward"
        help="The model writes several completions of each prompt, and learns from those with the highest rewards. The grader computes them."
        options={templates.map(({ id, label }) => [id, `${label} (${id})`] as const)}
        value={templateOf(grader) ?? ''}
        onChange={(id) => void editor.useTemplate(id)}
      />
      <Field id="grader" label="Grader">
        <textarea
          id="grader"
          rows={7}
          spellcheck={false}
          aria-describedby="grader-verdict"
          aria-invalid={isBad}
          value={grader}
          onInput={({ currentTarget }) => editor.type(currentTarget.value)}
        />
        <p class={`verdict help ${isBad ? 'bad' : ''}`} id="grader-verdict" role="status">
          {editor.verdict.value}
        </p>
      </Field>
      <Trial store={store} />
    </div>
  );
}

function Trial({ store: { grader: editor } }: StoreProps) {
  const { rowNumber, row, output, trial } = editor;
  const { busy, problem, run } = trial.value;
  return (
    <details class="more" id="grader-trial">
      <summary>Try it on a row</summary>
      <NumberField
        id="trial-row"
        label="Row of the training file"
        isInteger
        min={1}
        value={String(rowNumber.value || '')}
        onInput={(typed) => {
          rowNumber.value = Number(typed);
        }}
      />
      <div id="trial-item">
        {row.value ? (
          <Example name="The row">{rowText(row.value)}</Example>
        ) : (
          <p class="help">There is no such row. Choose a training file first.</p>
        )}
      </div>
      <AreaField
        id="trial-output"
        label="Completion"
        rows={2}
        value={output.value}
        onInput={(text) => {
          output.value = text;
        }}
      />
      <div class="row">
        <button type="button" id="trial-sample" disabled={!row.value} onClick={editor.sample}>
          Sample one
        </button>
        <button type="button" id="trial-run" onClick={editor.grade}>
          Grade it
        </button>
      </div>
      <div id="trial-result" role="status">
        {busy}
        <Problem text={problem ?? (run ? faultsOf(run) : '')} />
        {run && (
          <Pairs
            entries={Object.entries({ Reward: run.reward, ...run.sub_rewards }).map(
              ([name, reward]) => [name, figure(reward)],
            )}
          />
        )}
      </div>
    </details>
  );
}
