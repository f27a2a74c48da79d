// The playground's sampling parameters. A request contains only those that the user set; empty fields show the model's
// defaults as placeholders.

import { byId, el, fill } from './dom.js';
import {
  createStructuredFields,
  readStructure,
  STRUCTURE_NAMES,
  typedStructure,
  writeStructure,
} from './structured-fields.js';
import { SAMPLING_FIELDS } from './tables.js';
import { numberField } from './widgets.js';

/**
 * @typedef {object} Parameter
 * @property {string} name as in the API
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {boolean} [isInteger]
 * @property {string} standard the default if the model has none
 * @property {boolean} [isOpenAi] whether OpenAI's clients have it
 * @property {boolean} [isAdvanced] under "More parameters"
 */

/** @type {readonly Parameter[]} */
const PARAMETERS = [
  ...SAMPLING_FIELDS,
  { name: 'max_tokens', label: 'Max tokens', min: 1, isInteger: true, standard: 'no limit' },
  { name: 'seed', label: 'Seed', min: 0, isInteger: true, standard: 'random' },
];

/** The alternatives requested for each token. */
const TOP_LOGPROBS = 5;

/** The names of all parameters that a link can contain. */
export const PARAMETER_NAMES = [
  ...PARAMETERS.map(({ name }) => name),
  'stop',
  'logprobs',
  ...STRUCTURE_NAMES,
];

/** Presets. The fields that a preset does not name are cleared. @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
const PRESETS = {
  'Model defaults': {},
  Deterministic: { temperature: '0' },
  Balanced: { temperature: '0.7', top_p: '0.9' },
  Creative: { temperature: '1.1', top_p: '0.95' },
};
const CUSTOM = 'Custom';
/** The parameters that a preset sets. */
const PRESET_NAMES = PARAMETERS.map(({ name }) => name).filter(
  (name) => name !== 'max_tokens' && name !== 'seed',
);

/** Puts the fields on the page. @param {() => void} onChange */
export function createParameterFields(onChange) {
  const isAdvanced = (/** @type {Parameter} */ parameter) => parameter.isAdvanced === true;
  const basic = PARAMETERS.filter((parameter) => !isAdvanced(parameter));
  fill(byId('parameters'), ...basic.map(toField));
  fill(byId('more-parameters'), ...PARAMETERS.filter(isAdvanced).map(toField));
  createStructuredFields(onChange);
  const preset = byId('preset', HTMLSelectElement);
  fill(preset, ...[...Object.keys(PRESETS), CUSTOM].map((name) => el('option', name)));
  preset.addEventListener('change', () => {
    const values = PRESETS[preset.value];
    if (values) for (const name of PRESET_NAMES) inputOf(name).value = values[name] ?? '';
    onChange();
  });
  byId('settings-form').addEventListener('change', () => {
    showPreset();
    onChange();
  });
  showPreset();
}

/** Selects the preset that matches the fields. */
function showPreset() {
  const match = Object.entries(PRESETS).find(([, values]) =>
    PRESET_NAMES.every((name) => inputOf(name).value === (values[name] ?? '')),
  );
  byId('preset', HTMLSelectElement).value = match?.[0] ?? CUSTOM;
}

/** @param {Parameter} parameter */
function toField({ name, standard, ...field }) {
  return numberField({ ...field, id: name, placeholder: standard });
}

/** @param {string} name */
function inputOf(name) {
  return byId(name, HTMLInputElement);
}

/** Shows a model's defaults in the empty fields, or the standard ones. @param {Partial<import('../contracts/openai.ts').Model>} model */
export function showDefaults({ generation_config: config }) {
  /** @type {Readonly<Record<string, unknown>>} */
  const defaults = config ?? {};
  for (const { name, standard } of PARAMETERS) {
    inputOf(name).placeholder = String(defaults[name] ?? standard);
  }
}

/** Returns the fields as typed, without empty ones. @returns {Record<string, string>} */
export function typedParameters() {
  const entries = [
    ...PARAMETERS.map(({ name }) => [name, inputOf(name).value]),
    ['stop', byId('stop', HTMLTextAreaElement).value],
    ['logprobs', inputOf('logprobs').checked ? '1' : ''],
    ...typedStructure(),
  ];
  return Object.fromEntries(entries.filter(([, value]) => value !== ''));
}

/** Fills the fields, and clears those that are not given. @param {Readonly<Record<string, string>>} typed */
export function writeParameters(typed) {
  for (const { name } of PARAMETERS) inputOf(name).value = typed[name] ?? '';
  byId('stop', HTMLTextAreaElement).value = typed['stop'] ?? '';
  inputOf('logprobs').checked = typed['logprobs'] !== undefined;
  writeStructure(typed);
  showPreset();
}

/** Returns the parameters that are set, as the API takes them. The server checks them. @returns {Record<string, unknown>} */
export function readParameters() {
  const texts = typedParameters();
  const { stop = '', logprobs } = texts;
  const numbers = PARAMETERS.flatMap(({ name }) =>
    texts[name] ? [[name, Number(texts[name])]] : [],
  );
  const stops = stop.split('\n').filter(Boolean);
  return {
    ...Object.fromEntries(numbers),
    ...(stops.length > 0 && { stop: stops }),
    ...(logprobs && { logprobs: true, top_logprobs: TOP_LOGPROBS }),
    ...readStructure(),
  };
}
