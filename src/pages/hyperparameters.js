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
  {
    id: 'batch_size',
    label: 'Examples a step',
    min: 1,
    max: 256,
    step: 1,
    place: 'hyperparameters',
  },
  {
    id: 'learning_rate_multiplier',
    label: 'Rate multiplier',
    min: 0,
    step: 'any',
    place: 'hyperparameters',
  },
  { id: 'rank', label: 'Rank', min: 1, max: 512, step: 1, place: 'lorikeet' },
  { id: 'alpha', label: 'Alpha', min: 0, step: 'any', place: 'lorikeet' },
  { id: 'dropout', label: 'Dropout', min: 0, max: 0.99, step: 'any', place: 'lorikeet' },
  { id: 'seed', label: 'Seed', min: 0, step: 1, place: 'job' },
];

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
          placeholder: place === 'hyperparameters' ? 'auto' : 'as usual',
        }),
      ),
    ),
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
