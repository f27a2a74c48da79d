// The fields of a new job: its name, its hyperparameters, and what they contribute to the request. The server's tables say which
// there are, and what a name becomes.
import { ApiError, errorText, requestJson } from './api.js';
import { byId, fill, setText } from './dom.js';
import { hyperparametersOf } from './job-facts.js';
import { FIELDLESS_SETTINGS, FORM_FIELDS, NAME_RULES } from './tables.js';
import { choiceField, numberField } from './widgets.js';

/** @typedef {import('../contracts/preference-settings.ts').Objective} Method */
/** @typedef {typeof FORM_FIELDS[number]} Field */

/** @type {readonly (readonly [Method, string])[]} */
const METHODS = [
  ['supervised', 'Supervised: examples'],
  ['dpo', 'DPO: pairs of outputs'],
  ['reinforcement', 'Reinforcement: rewards'],
];
/** @type {readonly (readonly [string, string])[]} */
const COMPUTES = [
  ['float32', 'float32 (as peft)'],
  ['int8', 'int8 (faster)'],
];
/** Until somebody chooses, the arithmetic is the one that the plan recommends. */
let isComputeChosen = false;

/** The `lorikeet` settings that a repeated job keeps without a field. */
const KEPT = FIELDLESS_SETTINGS.filter((id) => id !== 'compute' && id !== 'validation_split');

/** @param {Field} field */
function inputOf({ id, options }) {
  return options ? byId(id, HTMLSelectElement) : byId(id, HTMLInputElement);
}

/** Puts the fields on the page. */
export function createHyperparameterFields() {
  fill(byId('method-field'), choiceField({ id: 'method', label: 'Method', options: METHODS }));
  fill(
    byId('hyperparameters'),
    ...FORM_FIELDS.map((field) => {
      if ('options' in field) return choiceField({ ...field, options: choicesOf(field.options) });
      const placeholder = field.parent === 'hyperparameters' ? 'auto' : 'default';
      return numberField({ ...field, placeholder });
    }),
    choiceField({ id: 'compute', label: 'Arithmetic', options: COMPUTES }),
  );
  byId('method').addEventListener('change', showFieldsOfMethod);
  showFieldsOfMethod();
  byId('compute').addEventListener('change', () => {
    isComputeChosen = true;
  });
}

/** The default, and the options. @param {readonly string[]} options @returns {[string, string][]} */
function choicesOf(options) {
  return ['', ...options].map((value) => [value, value || 'default']);
}

/** The fields that the chosen method has. */
function fieldsOfMethod() {
  const method = chosenMethod();
  return FORM_FIELDS.filter(({ objectives }) => objectives.includes(method));
}

/** @param {Method} method */
export function chooseMethod(method) {
  byId('method', HTMLSelectElement).value = method;
  showFieldsOfMethod();
}

/** The method of the job. */
export function chosenMethod() {
  return /** @type {Method} */ (byId('method', HTMLSelectElement).value);
}

function showFieldsOfMethod() {
  const shown = new Set(fieldsOfMethod());
  for (const field of FORM_FIELDS) {
    const box = byId(field.id).closest('.field');
    if (box instanceof HTMLElement) box.hidden = !shown.has(field);
  }
  byId('grader-section').hidden = chosenMethod() !== 'reinforcement';
}

/** Takes the arithmetic that a plan recommends, unless somebody has chosen one. @param {string} compute */
export function preselectCompute(compute) {
  if (!isComputeChosen) byId('compute', HTMLSelectElement).value = compute;
}

/** Returns what is wrong with the first invalid field. Browsers also report text that is not a number as invalid. */
export function hyperparameterFault() {
  for (const field of fieldsOfMethod()) {
    const { validity, validationMessage } = inputOf(field);
    if (!validity.valid) return `${field.label}: ${validationMessage}`;
  }
  return undefined;
}

/** Returns the fields as typed, the method, and the arithmetic if somebody has chosen it. @returns {Record<string, string>} */
export function typedHyperparameters() {
  const ids = [
    'method',
    ...FORM_FIELDS.map(({ id }) => id),
    ...(isComputeChosen ? ['compute'] : []),
  ];
  const typed = ids.map((id) => [id, /** @type {HTMLInputElement} */ (byId(id)).value]);
  return Object.fromEntries(typed.filter(([, value]) => value !== ''));
}

/** Fills the fields, and clears those that are not given. @param {Readonly<Record<string, string>>} typed */
export function restoreHyperparameters(typed) {
  for (const field of FORM_FIELDS) inputOf(field).value = typed[field.id] ?? '';
  chooseMethod(METHODS.find(([method]) => method === typed['method'])?.[0] ?? 'supervised');
  isComputeChosen = typed['compute'] !== undefined;
  if (typed['compute']) byId('compute', HTMLSelectElement).value = typed['compute'];
}

/**
 * Fills the fields with a job's settings.
 * @param {import('../contracts/fine-tuning-api.ts').FineTuningJob} job
 * @param {Readonly<Record<string, string>>} changes by field
 * @returns {Record<string, unknown>} the `lorikeet` settings without a field
 */
export function writeHyperparameters({ method, lorikeet, seed }, changes) {
  /** @type {Record<string, unknown>} */
  const values = { ...hyperparametersOf({ method }), ...lorikeet, seed };
  const given = FORM_FIELDS.map(({ id, options = [] }) => {
    const value = values[id];
    const isKnown = typeof value === 'number' || options.some((option) => option === value);
    return [id, isKnown ? String(value) : ''];
  });
  const typed = Object.fromEntries(given);
  // A job that names no arithmetic was trained in float32.
  const compute = String(lorikeet.compute ?? 'float32');
  restoreHyperparameters({ ...typed, method: method.type, compute, ...changes });
  // Changed settings are worth a look.
  const details = byId('hyperparameters').closest('details');
  if (details && Object.keys(changes).length > 0) details.open = true;
  const kept = KEPT.filter((key) => values[key] !== undefined);
  return Object.fromEntries(kept.map((key) => [key, values[key]]));
}

/**
 * Returns the members of a request to create a job. Empty fields are left out; the server checks the rest.
 * @param {Readonly<Record<string, unknown>>} reinforcement the other settings of a job that learns from rewards
 */
export function readHyperparameters(reinforcement) {
  /** @param {Field['parent']} wanted @returns {Record<string, number | string>} */
  const filled = (wanted) =>
    Object.fromEntries(
      fieldsOfMethod()
        .filter((field) => field.parent === wanted && inputOf(field).value !== '')
        .map((field) => {
          const { value } = inputOf(field);
          return [field.id, field.options ? value : Number(value)];
        }),
    );
  const hyperparameters = filled('hyperparameters');
  const type = chosenMethod();
  const isPlain = type === 'supervised' && Object.keys(hyperparameters).length === 0;
  const others = type === 'reinforcement' && reinforcement;
  return {
    ...filled('job'),
    ...(!isPlain && { method: { type, [type]: { ...others, hyperparameters } } }),
    lorikeet: { ...filled('lorikeet'), compute: byId('compute', HTMLSelectElement).value },
  };
}

/** The server is asked for a name this long after the last key press. */
const TYPING_MS = 300;

/**
 * Returns the adapter name that the server makes of a typed name.
 * @param {string} typed
 * @returns {string | undefined} undefined if it is invalid
 */
export function adapterName(typed) {
  const { suffix, steps, name: pattern, reserved } = NAME_RULES;
  const pairs = /** @type {[RegExp, string][]} */ (steps);
  const name = pairs.reduce((text, [from, to]) => text.replace(from, to), typed.toLowerCase());
  const isName = suffix.test(typed) && pattern.test(name) && !reserved.includes(name);
  return isName ? name : undefined;
}

/** The field for the adapter's name. A line below it says what the name will be, and what it replaces. */
export class NameField {
  #input;
  #onChange;
  /** Whether the server has said which model has the name now. */
  #isChecked = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /** @param {HTMLInputElement} input @param {() => void} onChange */
  constructor(input, onChange) {
    this.#input = input;
    this.#onChange = onChange;
    input.addEventListener('input', () => this.#changed());
    this.#show(nameHelp(''));
  }

  /** As typed. If empty, the server uses the job's id. */
  get value() {
    return this.#input.value.trim();
  }

  set value(text) {
    this.#input.value = text;
    this.#changed();
  }

  /** Whether a job can get the name, and the user can see what it replaces. */
  get isReady() {
    return this.#isChecked && this.#isNameOrEmpty;
  }

  get #isNameOrEmpty() {
    return this.value === '' || adapterName(this.value) !== undefined;
  }

  #changed() {
    clearTimeout(this.#typing);
    const name = adapterName(this.value);
    this.#isChecked = name === undefined;
    if (name !== undefined) this.#typing = setTimeout(() => void this.#check(name), TYPING_MS);
    this.#show(nameHelp(this.value));
    this.#onChange();
  }

  /** Asks which model has the name now. @param {string} name */
  async #check(name) {
    const text = await replacedText(name);
    if (adapterName(this.value) !== name) return;
    this.#isChecked = true;
    if (text !== '') this.#show(text, 'warning');
    this.#onChange();
  }

  /** @param {string} text @param {string} [className] */
  #show(text, className = 'help') {
    const help = byId(`${this.#input.id}-help`);
    help.className = className;
    setText(help, text);
    this.#input.setAttribute('aria-invalid', String(!this.#isNameOrEmpty));
  }
}

/** Says which requests a successful job will change; empty if the name is not in use. @param {string} name */
async function replacedText(name) {
  try {
    /** @type {import('../contracts/openai.ts').Model | undefined} */
    const model = await readIfPresent(`v1/models/${encodeURIComponent(name)}`);
    if (!model) return '';
    if (model.parent === undefined)
      return `${name} is the base’s name. Requests for it will not get the adapter.`;
    /** @type {import('../contracts/management-api.ts').Adapter | undefined} */
    const own = await readIfPresent(`v1/adapters/${encodeURIComponent(name)}`);
    const [newest] = own?.versions ?? [];
    if (!newest)
      return `In use: requests for ${name} now get a shared adapter. If the job succeeds, yours get the new one instead.`;
    // Checkpoints are versions, too, and are published before the result.
    return `In use: requests for ${name} now get ${model.root}. If the job succeeds, its result becomes version ${newest.version + 1} (later after checkpoints) and moves latest: they get the new adapter instead.`;
  } catch (error) {
    return `It is unknown whether ${name} is in use. ${errorText(error)}`;
  }
}

/** @template T @param {string} path @returns {Promise<T | undefined>} */
async function readIfPresent(path) {
  try {
    return await requestJson(path, { isQuiet: true });
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return undefined;
    throw error;
  }
}

/** @param {string} typed */
function nameHelp(typed) {
  if (typed === '') return 'Optional. Without a name, the job ID is used.';
  const name = adapterName(typed);
  if (name === undefined) {
    return 'Use letters and digits, without / \\ : or two dots in a row. base, default and ft are reserved.';
  }
  return name === typed ? 'This will be the model name.' : `The adapter will be called ${name}.`;
}
