// A job's checkpoints with their metrics, the kept one first, and its downloads.
import { errorText } from './api.js';
import { byId, el, fill, setText } from './dom.js';
import { count, figure, percent } from './format.js';
import { formatted } from './job-facts.js';
import { createTable, downloadFile, number, tryLink } from './widgets.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */
/** @typedef {import('../contracts/openai.ts').FineTuningJobCheckpoint} Checkpoint */
/** @typedef {import('./job-events.js').Metrics} Metrics */

/** @type {((rows: readonly (readonly import('./dom.js').Child[])[]) => void) | undefined} */
let showRows;

/**
 * Shows the checkpoints and the downloads.
 * @param {Job} job
 * @param {readonly Checkpoint[]} checkpoints newest first
 * @param {Metrics | undefined} keptMetrics of the step that the job kept
 */
export function showCheckpoints(job, checkpoints, keptMetrics) {
  const { fine_tuned_model: model } = job;
  const others = checkpoints.filter(({ fine_tuned_model_checkpoint: name }) => name !== model);
  const table = byId('results');
  const key = JSON.stringify([model, keptMetrics, others.map(({ id }) => id)]);
  if (table.dataset['shown'] === key) return; // rebuilding would lose the focus
  table.dataset['shown'] = key;
  showRows ??= createTable(table, {
    caption: 'Checkpoints',
    columns: [
      'Step',
      ...['Training loss', 'Token accuracy', 'Validation loss', 'Validation accuracy'].map(number),
      'Model',
    ],
  });
  const rows = [
    ...(model === null ? [] : [row(keptMetrics ?? {}, { model, job, isKept: true })]),
    ...others.map(({ fine_tuned_model_checkpoint: name, step_number: step, metrics }) =>
      row({ ...metrics, step }, { model: name, job, isKept: false }),
    ),
  ];
  showRows(rows);
  table.hidden = rows.length === 0;
  setText(
    byId('results-help'),
    rows.length === 0 ? 'You can try a checkpoint at the end of each epoch.' : '',
  );
  fill(byId('downloads'), ...downloads(job));
}

/** @param {Metrics} metrics @param {{ model: string, job: Job, isKept: boolean }} options */
function row(metrics, { model, job, isKept }) {
  const { step } = metrics;
  return [
    el(
      'span',
      typeof step === 'number' ? count(step) : 'Last',
      isKept && el('span.pill.running.kept', 'kept'),
    ),
    formatted(metrics['train_loss'], figure),
    formatted(metrics['train_mean_token_accuracy'], percent),
    formatted(metrics['full_valid_loss'], figure),
    formatted(metrics['full_valid_mean_token_accuracy'], percent),
    tryLink('a', { model, beside: job.model }),
  ];
}

/** @param {Job} job */
function downloads({ result_files: files, lorikeet }) {
  const { adapter, version } = lorikeet;
  const below = `v1/adapters/${adapter}/versions/${version}/files`;
  const items = [
    ...files.map((id) => ({
      text: 'Metrics (CSV)',
      path: `v1/files/${id}/content`,
      name: `${id}.csv`,
    })),
    ...(typeof version === 'number'
      ? ['adapter_model.safetensors', 'adapter_config.json'].map((name) => ({
          text: name,
          path: `${below}/${name}`,
          name,
        }))
      : []),
  ];
  return items.map(({ text, path, name }) =>
    el(
      'button.small',
      {
        'aria-label': `Download ${text}`,
        onclick: () =>
          downloadFile(path, name).catch((error) =>
            setText(byId('results-help'), errorText(error)),
          ),
      },
      text,
    ),
  );
}
