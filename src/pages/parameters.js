// The sampling parameters of the playground, one row each. Only what the reader set goes into a request; the fields
// show, as placeholders, what holds otherwise: the base's own defaults.
import { requestJson } from './api.js';
import { byId, el, fill } from './dom.js';

/**
 * @typedef {object} Parameter
 * @property {string} name the API's
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {number} step
 * @property {string} standard what holds if neither the request nor the base says something else
 * @property {'more'} [place] below "More parameters"
 */

/** @type {readonly Parameter[]} */
const PARAMETERS = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.1, standard: '1' },
  { name: 'top_p', label: 'Top p', min: 0, max: 1, step: 0.05, standard: '1' },
  { name: 'max_tokens', label: 'Max tokens', min: 1, step: 1, standard: 'no limit' },
  { name: 'seed', label: 'Seed', min: 0, step: 1, standard: 'random' },
  { name: 'top_k', label: 'Top k', min: 0, step: 1, standard: 'off', place: 'more' },
  { name: 'min_p', label: 'Min p', min: 0, max: 1, step: 0.05, standard: 'off', place: 'more' },
  {
    name: 'presence_penalty',
    label: 'Presence penalty',
    min: -2,
    max: 2,
    step: 0.1,
    standard: '0',
    place: 'more',
  },
  {
    name: 'frequency_penalty',
    label: 'Frequency penalty',
    min: -2,
    max: 2,
    step: 0.1,
    standard: '0',
    place: 'more',
  },
  {
    name: 'repetition_penalty',
    label: 'Repetition penalty',
    min: 0,
    step: 0.05,
    standard: '1',
    place: 'more',
  },
];

/** Alternatives of each token that the playground asks for. */
const TOP_LOGPROBS = 5;

/** Those with fields of another kind. */
const OTHERS = ['stop', 'logprobs'];

export const PARAMETER_NAMES = [...PARAMETERS.map(({ name }) => name), ...OTHERS];

/** Named settings; a preset empties every field that it does not name. @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
const PRESETS = {
  'Model defaults': {},
  Deterministic: { temperature: '0' },
  Balanced: { temperature: '0.7', top_p: '0.9' },
  Creative: { temperature: '1.1', top_p: '0.95' },
};
const CUSTOM = 'Custom';

/** @param {() => void} onChange */
export function showParameters(onChange) {
  const [first, more] = [undefined, 'more'].map((place) =>
    PARAMETERS.filter((parameter) => parameter.place === place).map(toField),
  );
  fill(byId('parameters'), ...(first ?? []));
  fill(byId('more-parameters'), ...(more ?? []));
  const preset = byId('preset', HTMLSelectElement);
  fill(preset, ...[...Object.keys(PRESETS), CUSTOM].map((name) => el('option', {}, name)));
  preset.addEventListener('change', () => {
    const values = PRESETS[preset.value];
    for (const { name } of PARAMETERS) {
      const isKept = name === 'max_tokens' || name === 'seed' || !values;
      if (!isKept) inputOf(name).value = values[name] ?? '';
    }
    onChange();
  });
  byId('settings-form').addEventListener('change', () => {
    showPreset();
    onChange();
  });
  showPreset();
}

/** Names the preset that the fields are, if they are one. */
function showPreset() {
  const sampling = PARAMETERS.filter(({ name }) => name !== 'max_tokens' && name !== 'seed');
  const found = Object.entries(PRESETS).find(([, values]) =>
    sampling.every(({ name }) => inputOf(name).value === (values[name] ?? '')),
  );
  byId('preset', HTMLSelectElement).value = found?.[0] ?? CUSTOM;
}

/** @param {Parameter} parameter */
function toField({ name, label, min, max, step, standard }) {
  return el(
    'div',
    { className: 'field' },
    el('label', { htmlFor: name }, label),
    el('input', {
      id: name,
      type: 'number',
      min,
      max,
      step: step === 1 ? 1 : 'any',
      placeholder: standard,
      inputMode: step === 1 ? 'numeric' : 'decimal',
    }),
  );
}

/** @param {string} name */
function inputOf(name) {
  return byId(name, HTMLInputElement);
}

/** The newest wish to show a model's defaults; answers to older ones are ignored. */
let wanted = '';

/**
 * Shows the defaults of this model where a field is empty. A model that cannot be read has the standard ones.
 * @param {string} model
 */
export async function showDefaults(model) {
  wanted = model;
  /** @type {{ generation_config?: Readonly<Record<string, unknown>> }} */
  const { generation_config: defaults = {} } = await requestJson(
    `v1/models/${encodeURIComponent(model)}`,
    { isQuiet: true },
  ).catch(() => ({}));
  if (wanted !== model) return;
  for (const { name, standard } of PARAMETERS) {
    inputOf(name).placeholder = String(defaults[name] ?? standard);
  }
}

/** What the fields say, as typed; empty ones are left out. @returns {Record<string, string>} */
export function typedParameters() {
  const entries = [
    ...PARAMETERS.map(({ name }) => [name, inputOf(name).value]),
    ['stop', byId('stop', HTMLTextAreaElement).value],
    ['logprobs', inputOf('logprobs').checked ? '1' : ''],
  ];
  return Object.fromEntries(entries.filter(([, value]) => value !== ''));
}

/** Puts these into the fields and empties the others. @param {Readonly<Record<string, string>>} typed */
export function writeParameters(typed) {
  for (const { name } of PARAMETERS) inputOf(name).value = typed[name] ?? '';
  byId('stop', HTMLTextAreaElement).value = typed['stop'] ?? '';
  inputOf('logprobs').checked = typed['logprobs'] !== undefined;
  showPreset();
}

/** The parameters of a request: those that are set. The server checks them. @returns {Record<string, unknown>} */
export function readParameters() {
  const { stop = '', logprobs, ...numbers } = typedParameters();
  const stops = stop.split('\n').filter(Boolean);
  return {
    ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Number(value)])),
    ...(stops.length > 0 && { stop: stops }),
    ...(logprobs && { logprobs: true, top_logprobs: TOP_LOGPROBS }),
  };
}
