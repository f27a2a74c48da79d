// What the owner of a job wants to know first: what the adapter gained over the base, how long it took, what to call it.
import { copyButton } from './clipboard.js';
import { byId, el, fill } from './dom.js';
import { duration, durationRange, figure, percent } from './format.js';
import { plannedRange, runSeconds } from './job-facts.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */
/** @typedef {{ name: string, base: unknown, adapter: unknown, format: (value: number) => string, help: string, isValidated: boolean }} Comparison */

/**
 * @param {Job} job
 * @param {import('./job-curves.js').Metrics | undefined} last of the newest step
 * @param {import('./job-curves.js').Metrics | undefined} validated of the kept step, or of the newest with a validation
 */
export function showOutcome(job, last, validated) {
  const card = evaluationOf(job);
  const isValidated = job.validation_file !== null;
  const accuracy = last?.['train_mean_token_accuracy'];
  const tiles = [
    comparison({
      name: 'Validation accuracy',
      base: card['base_validation_token_accuracy'],
      adapter: card['validation_token_accuracy'] ?? validated?.['full_valid_mean_token_accuracy'],
      format: percent,
      help: 'share of validation tokens predicted right',
      isValidated,
    }),
    comparison({
      name: 'Validation loss',
      base: card['base_validation_loss'],
      adapter: card['validation_loss'] ?? validated?.['full_valid_loss'],
      format: figure,
      help: 'lower is better',
      isValidated,
    }),
    tile('Training loss', shown(last?.['train_loss'] ?? job.lorikeet['train_loss'], figure), [
      typeof accuracy === 'number' ? `${percent(accuracy)} token accuracy` : 'not measured yet',
    ]),
    durationTile(job),
  ];
  fill(byId('outcome'), el('dl', { className: 'tiles' }, ...tiles), modelLine(job));
}

/** @param {Job} job @returns {Readonly<Record<string, unknown>>} */
export function evaluationOf({ lorikeet }) {
  return /** @type {Record<string, unknown> | undefined} */ (lorikeet['evaluation']) ?? {};
}

/** Base and adapter side by side. @param {Comparison} options */
function comparison({ name, base, adapter, format, help, isValidated }) {
  if (typeof base !== 'number' && typeof adapter !== 'number') {
    return tile(name, '–', [isValidated ? 'not measured yet' : 'needs a validation file']);
  }
  /** @param {unknown} value @param {string} label @param {string} className */
  const side = (value, label, className) =>
    el('span', { className }, el('strong', {}, shown(value, format)), el('small', {}, label));
  return el(
    'div',
    {},
    el('dt', {}, name),
    el(
      'dd',
      { className: 'versus' },
      side(base, 'base', ''),
      el('span', { 'aria-hidden': 'true', className: 'arrow' }, '→'),
      side(adapter, 'adapter', 'better'),
    ),
    el('dd', { className: 'help' }, help),
  );
}

/** @param {Job} job */
function durationTile(job) {
  const seconds = runSeconds(job, Date.now() / 1000);
  const range = plannedRange(job);
  return tile('Duration', seconds === undefined ? '–' : duration(seconds), [
    range ? `estimated ${durationRange(...range)}` : seconds === undefined ? 'not started' : '',
  ]);
}

/** @param {string} name @param {string} value @param {readonly string[]} notes */
function tile(name, value, notes) {
  return el(
    'div',
    {},
    el('dt', {}, name),
    el('dd', {}, value),
    ...notes.map((note) => el('dd', { className: 'help' }, note)),
  );
}

/** @param {Job} job */
function modelLine({ fine_tuned_model: model, model: base, lorikeet }) {
  if (model === null) return null;
  const alias = String(lorikeet['adapter']);
  const query = new URLSearchParams({ model, beside: base });
  return el(
    'div',
    { className: 'model-line panel' },
    el(
      'div',
      {},
      el('span', { className: 'help' }, 'Model'),
      el('code', {}, model),
      el('p', { className: 'help' }, 'Its newest version also answers to ', el('code', {}, alias)),
    ),
    el(
      'div',
      { className: 'row' },
      copyButton(() => model, 'the model name'),
      el('a', { className: 'button primary', href: `./?${query}` }, 'Try it'),
    ),
  );
}

/** @param {unknown} value @param {(value: number) => string} format */
export function shown(value, format) {
  return typeof value === 'number' ? format(value) : '–';
}
