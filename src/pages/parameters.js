// The sampling parameters that the playground shows, a row each, and what of them goes into a request.
import { byId, el, fill } from './dom.js';

/**
 * @typedef {object} Parameter
 * @property {string} name as the API has it
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {number | 'any'} step
 * @property {string} initial empty: not sent
 * @property {string} otherwise what holds where the field is empty
 */

/** @type {readonly Parameter[]} */
const FIRST = [
  {
    name: 'temperature',
    label: 'Temperature',
    min: 0,
    max: 2,
    step: 0.1,
    initial: '0',
    otherwise: '1',
  },
  {
    name: 'max_tokens',
    label: 'Most tokens',
    min: 1,
    step: 1,
    initial: '256',
    otherwise: 'all that fit',
  },
];

/** @type {readonly Parameter[]} */
const MORE = [
  { name: 'top_p', label: 'Top p', min: 0, max: 1, step: 0.05, initial: '', otherwise: '1' },
  { name: 'top_k', label: 'Top k', min: 0, step: 1, initial: '', otherwise: 'all' },
  { name: 'min_p', label: 'Min p', min: 0, max: 1, step: 0.05, initial: '', otherwise: '0' },
  { name: 'seed', label: 'Seed', min: 0, step: 1, initial: '', otherwise: 'random' },
  {
    name: 'presence_penalty',
    label: 'Presence penalty',
    min: -2,
    max: 2,
    step: 0.1,
    initial: '',
    otherwise: '0',
  },
  {
    name: 'frequency_penalty',
    label: 'Frequency penalty',
    min: -2,
    max: 2,
    step: 0.1,
    initial: '',
    otherwise: '0',
  },
  {
    name: 'repetition_penalty',
    label: 'Repetition penalty',
    min: 0,
    step: 0.05,
    initial: '',
    otherwise: '1',
  },
];

export function showParameters() {
  fill(byId('parameters'), ...FIRST.map(toField));
  fill(byId('more-parameters'), ...MORE.map(toField));
}

/** @param {Parameter} parameter */
function toField({ name, label, min, max, step, initial, otherwise }) {
  const field = {
    id: name,
    type: 'number',
    min,
    max,
    step,
    value: initial,
    placeholder: otherwise,
  };
  return el(
    'div',
    { className: 'field' },
    el('label', { htmlFor: name }, label),
    el('input', { ...field, inputMode: step === 1 ? 'numeric' : 'decimal' }),
  );
}

/** Of the fields that are filled in; the server checks them. @returns {Record<string, unknown>} */
export function readParameters() {
  const filled = [...FIRST, ...MORE].flatMap(({ name }) => {
    const { value } = byId(name, HTMLInputElement);
    return value === '' ? [] : [[name, Number(value)]];
  });
  const stop = byId('stop', HTMLTextAreaElement).value.split('\n').filter(Boolean);
  return { ...Object.fromEntries(filled), ...(stop.length > 0 && { stop }) };
}
