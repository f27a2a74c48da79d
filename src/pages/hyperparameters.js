// The fields of how a job is trained, a row each, and what of them goes into a request.
import { byId, el, fill } from './dom.js';

/**
 * @typedef {object} Field
 * @property {string} id
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {number | 'any'} step
 * @property {'hyperparameters' | 'lorikeet' | 'job'} place
 */

/** @type {readonly Field[]} */
const FIELDS = [
  { id: 'n_epochs', label: 'Epochs', min: 1, max: 50, step: 1, place: 'hyperparameters' },
  { id: 'batch_size', label: 'Batch size', min: 1, max: 256, step: 1, place: 'hyperparameters' },
  {
    id: 'learning_rate_multiplier',
    label: 'Learning rate multiplier',
    min: 0,
    step: 'any',
    place: 'hyperparameters',
  },
  { id: 'rank', label: 'LoRA rank', min: 1, max: 512, step: 1, place: 'lorikeet' },
  { id: 'alpha', label: 'LoRA alpha', min: 0, step: 'any', place: 'lorikeet' },
  { id: 'dropout', label: 'LoRA dropout', min: 0, max: 0.99, step: 'any', place: 'lorikeet' },
  { id: 'seed', label: 'Seed', min: 0, step: 1, place: 'job' },
];

/** Settings of a job that a request may repeat, whether they have a field or not. */
const REPEATED = ['method', 'rank', 'alpha', 'targets', 'rslora', 'dropout', 'gate'];

export function showHyperparameters() {
  fill(
    byId('hyperparameters'),
    ...FIELDS.map(({ id, label, min, max, step, place }) =>
      el(
        'div',
        { className: 'field' },
        el('label', { htmlFor: id }, label),
        el('input', {
          id,
          type: 'number',
          min,
          max,
          step,
          inputMode: step === 1 ? 'numeric' : 'decimal',
          placeholder: place === 'hyperparameters' ? 'auto' : 'default',
        }),
      ),
    ),
  );
}

/** What is wrong with a field, in words; undefined if nothing is. A browser gives what is no number as empty. */
export function faultOfHyperparameters() {
  for (const { id, label } of FIELDS) {
    const field = byId(id, HTMLInputElement);
    if (!field.validity.valid) return `${label}: ${field.validationMessage}`;
  }
  return undefined;
}

/**
 * Fills the fields with a job's settings.
 * @param {import('../contracts/openai.ts').FineTuningJob} job
 * @returns {Record<string, unknown>} those of `lorikeet` that have no field
 */
export function writeHyperparameters({ hyperparameters, lorikeet, seed }) {
  /** @type {Record<string, unknown>} */
  const values = { ...hyperparameters, ...lorikeet, seed };
  for (const { id } of FIELDS) {
    const value = values[id];
    byId(id, HTMLInputElement).value = typeof value === 'number' ? String(value) : '';
  }
  const shown = new Set(FIELDS.map(({ id }) => id));
  return Object.fromEntries(
    REPEATED.filter((key) => !shown.has(key) && lorikeet[key] !== undefined).map((key) => [
      key,
      lorikeet[key],
    ]),
  );
}

/** Members of a request to create a job; the server checks them. */
export function readHyperparameters() {
  /** @param {Field['place']} wanted @returns {Record<string, number>} */
  const filled = (wanted) =>
    Object.fromEntries(
      FIELDS.filter(({ place }) => place === wanted)
        .map(({ id }) => /** @type {const} */ ([id, byId(id, HTMLInputElement).value]))
        .filter(([, value]) => value !== '')
        .map(([id, value]) => [id, Number(value)]),
    );
  const hyperparameters = filled('hyperparameters');
  return {
    ...filled('job'),
    ...(Object.keys(hyperparameters).length > 0 && {
      method: { type: 'supervised', supervised: { hyperparameters } },
    }),
    lorikeet: filled('lorikeet'),
  };
}
