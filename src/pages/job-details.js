// The parts of a job's page that come from its record: result, gates, settings, checkpoints (the kept one first) and downloads.
import { errorText, requestJson } from './api.js';
import { byId, definitions, el, fill, setText } from './dom.js';
import { count, counted, dateAndTime, duration, durationRange, figure, percent } from './format.js';
import {
  accuracyOf,
  classCountOf,
  evaluationOf,
  formatted,
  formattedMetric,
  learnsPairs,
  learnsRewards,
  plannedRange,
  runSeconds,
  SETTINGS,
} from './job-facts.js';
import { METRICS } from './tables.js';
import { copyButton, createTable, downloadFile, number, tile, tryLink } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */
/** @typedef {import('./job-events.js').Metrics} Metrics */

/**
 * Shows what the adapter gained over its base, how long training took, and the model's name.
 * @param {Job} job
 * @param {Metrics | undefined} last of the newest step
 * @param {Metrics | undefined} validated of the kept step, or of the newest one with a validation
 */
export function showResult(job, last, validated) {
  const isValidated = job.validation_file !== null || job.lorikeet.validation_split;
  const missing = isValidated ? 'not measured yet' : 'needs validation rows';
  const tilesOf = learnsRewards(job) ? rewardTiles : lossTiles;
  const tiles = [...tilesOf(job, { last, validated, missing }), durationTile(job)];
  fill(byId('outcome'), el('dl.tiles', ...tiles), modelLine(job));
}

/** @typedef {{ last: Metrics | undefined, validated: Metrics | undefined, missing: string }} Measured */

/** @param {Job} job @param {Measured} measured */
function lossTiles(job, { last, validated, missing }) {
  const card = evaluationOf(job);
  const training = last?.train_mean_token_accuracy;
  const { base, adapter } = accuracyOf(card);
  const counted =
    classCountOf(job) !== undefined
      ? 'texts classified'
      : learnsPairs(job)
        ? 'pairs ordered'
        : 'tokens predicted';
  return [
    comparisonTile('Validation accuracy', {
      base,
      adapter: adapter ?? validated?.full_valid_mean_token_accuracy,
      format: percent,
      help: `share of validation ${counted} correctly`,
      missing,
      isBetter: (to, from) => to > from,
    }),
    comparisonTile('Validation loss', {
      base: card['base_validation_loss'],
      adapter: card['validation_loss'] ?? validated?.full_valid_loss,
      format: figure,
      help: 'lower is better',
      missing,
      isBetter: (to, from) => to < from,
    }),
    tile(
      'Training loss',
      formatted(last?.train_loss ?? job.lorikeet.train_loss, figure),
      typeof training === 'number' ? `${percent(training)} accuracy` : 'not measured yet',
    ),
  ];
}

/** @param {Job} job @param {Measured} measured */
function rewardTiles(job, { last, validated, missing }) {
  const card = evaluationOf(job);
  const length = last?.completion_tokens_mean;
  return [
    comparisonTile('Validation reward', {
      base: card['base_reward'],
      adapter: card['reward'] ?? validated?.full_valid_mean_reward,
      format: figure,
      help: 'mean over the validation rows',
      missing,
      isBetter: (to, from) => to > from,
    }),
    tile(
      'Training reward',
      formatted(last?.train_mean_reward, figure),
      typeof length === 'number' ? `${figure(length)} tokens per completion` : 'not measured yet',
    ),
  ];
}

/**
 * @param {string} name
 * @param {{ base: unknown, adapter: unknown, format: (value: number) => string, help: string, missing: string, isBetter: (to: number, from: number) => boolean }} options
 *   missing: shown if neither value is known
 */
function comparisonTile(name, { base, adapter, format, help, missing, isBetter }) {
  if (typeof base !== 'number' && typeof adapter !== 'number') return tile(name, '–', missing);
  const gains = typeof base === 'number' && typeof adapter === 'number' && isBetter(adapter, base);
  /** @param {unknown} value @param {string} label @param {string} className */
  const side = (value, label, className) =>
    el('span', { className }, el('strong', formatted(value, format)), el('small', label));
  return el(
    'div',
    el('dt', name),
    el(
      'dd.versus',
      side(base, 'base', ''),
      el('span', { 'aria-hidden': 'true', className: 'arrow' }, '→'),
      side(adapter, 'adapter', gains ? 'better' : ''),
    ),
    el('dd.help', help),
  );
}

/** @param {Job} job */
function durationTile(job) {
  const seconds = runSeconds(job, Date.now() / 1000);
  const range = plannedRange(job);
  const notStarted = seconds === undefined ? 'not started' : '';
  return tile(
    'Duration',
    formatted(seconds, duration),
    range ? `estimated ${durationRange(...range)}` : notStarted,
  );
}

/** @param {Job} job */
function modelLine(job) {
  const { fine_tuned_model: model, lorikeet } = job;
  if (model === null) return null;
  const name = String(lorikeet.adapter);
  return el(
    'div.model-line.panel',
    el(
      'div',
      el('span.help', 'Model'),
      el('code', model),
      el('p.help', 'The newest version is also called ', el('code', name)),
    ),
    el(
      'div.row',
      copyButton(() => model, 'the model name'),
      tryLink('a.button.primary', queryOf(job, model)),
    ),
  );
}

/** A model of the job, next to the base; a base does not classify. @param {Job} job @param {string} model */
function queryOf(job, model) {
  return classCountOf(job) === undefined ? { model, beside: job.model } : { model };
}

/** @type {Readonly<Record<string, string>>} */
const GATES = {
  finite: 'All weights are finite',
  weights: 'No weight is too large',
  applied: 'The adapter changes the base’s output',
  validation: 'The adapter beats the base on the validation file',
  generation: 'The adapter generates answers',
  forgetting: 'The adapter keeps what the base knew',
};

/** @type {Readonly<Record<string, string>>} */
const RELATIONS = { '<=': 'at most', '<': 'below', '>': 'above' };

/** Shows the gates of a job's evaluation card. @param {Job} job */
export function showGates(job) {
  const card = /** @type {Partial<import('../contracts/evaluation-card.ts').EvaluationCard>} */ (
    evaluationOf(job)
  );
  byId('card-section').hidden = !card.gates;
  fill(
    byId('gates'),
    ...(card.gates ?? []).map((verdict) =>
      gateLine(verdict.passed ? 'Passed' : 'Failed', verdict.gate, {
        className: verdict.passed ? 'passed' : 'refused',
        detail: gateDetail(job, verdict),
      }),
    ),
    ...(card.skipped ?? []).map(({ gate, reason }) =>
      gateLine('Skipped', gate, { className: '', detail: reason }),
    ),
  );
}

/** @param {Job} job @param {import('../contracts/evaluation-card.ts').GateVerdict} verdict */
function gateDetail(job, { gate, value, limit, relation }) {
  // The loss of a job that learns from rewards is the negative reward.
  if (learnsRewards(job) && gate === 'validation')
    return `reward ${figure(-value)} (must be above ${figure(-limit)})`;
  if (limit === 0 && value === 0) return ''; // counts of faults
  return `${figure(value)} (must be ${RELATIONS[relation] ?? relation} ${figure(limit)})`;
}

/** @param {string} verdict @param {string} gate @param {{ className: string, detail: string }} options */
function gateLine(verdict, gate, { className, detail }) {
  return el(
    'li',
    { className },
    el('strong', verdict),
    ` ${GATES[gate] ?? gate}`,
    el('span.help', ` ${detail}`),
  );
}

/** File id → its name; a deleted file's id. @type {Map<string, string>} */
const fileNames = new Map();

/** Requests each name once. @param {string | null} id */
async function fileName(id) {
  if (id === null) return undefined;
  if (!fileNames.has(id)) {
    fileNames.set(id, id);
    /** @type {{ filename: string }} */
    const { filename } = await requestJson(`v1/files/${id}`).catch(() => ({ filename: id }));
    fileNames.set(id, filename);
  }
  return fileNames.get(id);
}

/** Shows a job's files and settings. @param {Job} job */
export async function showSettings(job) {
  const { lorikeet, finished_at: finishedS, trained_tokens: tokens } = job;
  /** @type {(readonly [name: string, value: unknown])[]} */
  const facts = [
    ['Job ID', job.id],
    ['Adapter', lorikeet.adapter],
    ['Training file', await fileName(job.training_file)],
    ['Validation file', await fileName(job.validation_file)],
    ...SETTINGS.map(([name, read]) => /** @type {const} */ ([name, read(job)])),
    ['Created', dateAndTime(job.created_at)],
    ['Finished', finishedS === null ? undefined : dateAndTime(finishedS)],
    ['Trained', tokens === null ? undefined : counted(tokens, 'token')],
  ];
  const entries = facts.filter(([, value]) => value !== undefined && value !== null);
  fill(byId('job-facts'), ...definitions(entries.map(([name, value]) => [name, String(value)])));
}

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJobCheckpoint} Checkpoint */

/** The columns of a job's checkpoints. @param {Job} job */
function columnsOf(job) {
  const shown = learnsRewards(job) ? ['reward'] : ['loss', 'accuracy'];
  return METRICS.filter(({ curve }) => shown.includes(curve));
}

/** The table on the page. @type {{ heads: string, showRows: ReturnType<typeof createTable> } | undefined} */
let shownTable;

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
  const labels = columnsOf(job).map(({ label }) => label);
  if (shownTable?.heads !== labels.join()) {
    const showRows = createTable(table, {
      caption: 'Checkpoints',
      columns: ['Step', ...labels.map(number), 'Model'],
    });
    shownTable = { heads: labels.join(), showRows };
  }
  const rows = [
    ...(model === null ? [] : [row(keptMetrics ?? {}, { model, job, isKept: true })]),
    ...others.map(({ fine_tuned_model_checkpoint: name, step_number: step, metrics }) =>
      row({ ...metrics, step }, { model: name, job, isKept: false }),
    ),
  ];
  shownTable.showRows(rows);
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
    ...columnsOf(job).map((metric) => formattedMetric(metrics, metric)),
    tryLink('a', queryOf(job, model)),
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
