// The dialog that runs a prompt over the rows of a file, and saves the answers.
import { useEffect } from 'preact/hooks';
import { saveBlob } from '../browser.ts';
import { Dialog } from '../components/dialog.tsx';
import { AreaField, Field } from '../components/fields.tsx';
import { Problem } from '../components/problem.tsx';
import { counted } from '../format.ts';
import { RowRun, toCsv } from './row-run.ts';
import { store } from './store.ts';
import { type Row, toJsonl } from './templates.ts';

/** Kept while the dialog is closed. */
const run = new RowRun(store.settings);

/** The dialog. Closing it stops the run. */
export function RowsDialog({ onClose }: { readonly onClose: () => void }) {
  useEffect(() => {
    run.template.value ||= store.draft.value;
    return () => run.stop();
  }, []);
  const { rows, isRunning, answered } = run;
  const isReady = rows.value.length > 0 && run.missing.value.length === 0;
  const save = async (name: string, write: (all: readonly Row[]) => string | Promise<string>) =>
    saveBlob(new Blob([await write(run.results.value)]), name);
  return (
    <Dialog id="rows" title="Run over a file" isOpen isWide onClose={onClose}>
      <AreaField
        id="rows-template"
        label="Message"
        help="{{column}} stands for the value of a row. The models and settings are those of the chat."
        rows={3}
        value={run.template.value}
        onInput={(text) => {
          run.template.value = text;
        }}
      />
      <Field id="rows-file" label="CSV with a line of column names, or JSONL">
        <input
          id="rows-file"
          type="file"
          accept=".csv,.tsv,.jsonl,.ndjson"
          onChange={({ currentTarget: { files } }) => files?.[0] && run.read(files[0])}
        />
      </Field>
      <Problem id="rows-problem" text={run.problem.value || missingText()} />
      <p class="help" id="rows-state" role="status">
        {stateText()}
      </p>
      <progress max={rows.value.length || 1} value={answered.value} hidden={!isRunning.value} />
      <div class="row end">
        {Object.entries({ csv: toCsv, jsonl: toJsonl }).map(([kind, write]) => (
          <button
            key={kind}
            type="button"
            disabled={answered.value === 0}
            onClick={() => save(`answers.${kind}`, write)}
          >
            Download {kind.toUpperCase()}
          </button>
        ))}
        <button
          type="button"
          class="primary"
          id="rows-run"
          disabled={!isReady}
          onClick={() => (isRunning.value ? run.stop() : run.start())}
        >
          {isRunning.value ? 'Stop' : 'Run'}
        </button>
        <button type="button" id="rows-close" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function missingText(): string {
  const { missing, rows } = run;
  if (rows.value.length === 0 || missing.value.length === 0) return '';
  const columns = Object.keys(rows.value[0]!).join(', ');
  return `The file has no column ${missing.value.join(', ')}. It has ${columns}.`;
}

function stateText(): string {
  const { rows, answered, failed } = run;
  const { length } = rows.value;
  if (length === 0) return '';
  if (answered.value === 0)
    return `${counted(length, 'row')}: ${Object.keys(rows.value[0]!).join(', ')}`;
  const failures = failed.value > 0 ? `, ${failed.value} failed` : '';
  return `${answered.value} of ${counted(length, 'row')} answered${failures}`;
}
