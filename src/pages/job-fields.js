// The fields of a new job: its name, its hyperparameters, and what they contribute to the request. The server decides
// what a name becomes (src/jobs/names.ts); a test compares the two.
import { ApiError, errorText, requestJson } from './api.js';
import { byId, fill, setText } from './dom.js';
import { hyperparametersOf } from './job-facts.js';
import { choiceField, numberField } from './widgets.js';

/** @typedef {'supervised' | 'dpo' | 'reinforcement'} Method */

/**
 * @typedef {object} Field
 * @property {string} id
 * @property {string} label
 * @property {number} [min] default: 0
 * @property {number} [max]
 * @property {boolean} [isInteger]
 * @property {readonly (readonly [string, string])[]} [options] absent: a number
 * @property {'hyperparameters' | 'lorikeet' | 'job'} parent the object of the request that contains it
 * @property {readonly Method[]} [methods] whose jobs have it; default: all
 */

/** @type {readonly (readonly [string, string])[]} */
const EFFORTS = ['', 'low', 'medium', 'high'].map((effort) => [effort, effort || 'default']);

/** @type {readonly Field[]} */
const REWARD_FIELDS = [
  { id: 'completions', label: 'Completions per prompt', min: 2, max: 64, parent: 'lorikeet' },
  { id: 'completion_length', label: 'Tokens per completion', min: 1, parent: 'lorikeet' },
  { id: 'compute_multiplier', label: 'Compute multiplier', min: 0, parent: 'hyperparameters' },
  { id: 'eval_interval', label: 'Validate after steps', min: 1, parent: 'hyperparameters' },
  { id: 'eval_samples', label: 'Rows per validation', min: 1, parent: 'hyperparameters' },
].map((field) => {
  const isInteger = field.id !== 'compute_multiplier';
  return /** @type {Field} */ ({ ...field, isInteger, methods: ['reinforcement'] });
});

/** @type {readonly Field[]} */
const FIELDS = [
  { id: 'n_epochs', label: 'Epochs', min: 1, max: 50, isInteger: true, parent: 'hyperparameters' },
  {
    id: 'batch_size',
    label: 'Batch size',
    min: 1,
    max: 256,
    isInteger: true,
    parent: 'hyperparameters',
  },
  {
    id: 'learning_rate_multiplier',
    label: 'Learning rate multiplier',
    min: 0,
    parent: 'hyperparameters',
  },
  { id: 'beta', label: 'Beta', min: 0, max: 2, parent: 'hyperparameters', methods: ['dpo'] },
  ...REWARD_FIELDS,
  {
    id: 'reasoning_effort',
    label: 'Reasoning effort',
    options: EFFORTS,
    parent: 'hyperparameters',
    methods: ['reinforcement'],
  },
  { id: 'rank', label: 'LoRA rank', min: 1, isInteger: true, parent: 'lorikeet' },
  { id: 'alpha', label: 'LoRA alpha', min: 0, parent: 'lorikeet' },
  {
    id: 'dropout',
    label: 'LoRA dropout',
    min: 0,
    max: 0.99,
    parent: 'lorikeet',
    methods: ['supervised', 'dpo'],
  },
  { id: 'seed', label: 'Seed', min: 0, isInteger: true, parent: 'job' },
];

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

/** The `lorikeet` settings that a repeated job keeps, with or without a field. */
const REPEATED = [
  ...['method', 'rank', 'alpha', 'targets', 'rslora', 'dora', 'lora_bias', 'bias', 'init', 'alora'],
  ...['train_head', 'train_embeddings', 'ensure_weight_tying', 'modules_to_save'],
  ...['loss', 'label_smoothing', 'dropout', 'compute', 'gate'],
];

/** @param {Field} field */
function inputOf({ id, options }) {
  return options ? byId(id, HTMLSelectElement) : byId(id, HTMLInputElement);
}

/** Puts the fields on the page. */
export function createHyperparameterFields() {
  fill(byId('method-field'), choiceField({ id: 'method', label: 'Method', options: METHODS }));
  fill(
    byId('hyperparameters'),
    ...FIELDS.map(({ parent, options, min = 0, ...field }) => {
      const placeholder = parent === 'hyperparameters' ? 'auto' : 'default';
      return options
        ? choiceField({ ...field, options })
        : numberField({ ...field, min, placeholder });
    }),
    choiceField({ id: 'compute', label: 'Arithmetic', options: COMPUTES }),
  );
  byId('method').addEventListener('change', showFieldsOfMethod);
  showFieldsOfMethod();
  byId('compute').addEventListener('change', () => {
    isComputeChosen = true;
  });
}

/** The fields that the chosen method has. */
function fieldsOfMethod() {
  const method = chosenMethod();
  return FIELDS.filter(({ methods }) => methods?.includes(method) ?? true);
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
  for (const field of FIELDS) {
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
  const ids = ['method', ...FIELDS.map(({ id }) => id), ...(isComputeChosen ? ['compute'] : [])];
  const typed = ids.map((id) => [id, /** @type {HTMLInputElement} */ (byId(id)).value]);
  return Object.fromEntries(typed.filter(([, value]) => value !== ''));
}

/** Fills the fields, and clears those that are not given. @param {Readonly<Record<string, string>>} typed */
export function restoreHyperparameters(typed) {
  for (const field of FIELDS) inputOf(field).value = typed[field.id] ?? '';
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
  const given = FIELDS.map(({ id, options = [] }) => {
    const value = values[id];
    const isKnown = typeof value === 'number' || options.some(([option]) => option === value);
    return [id, isKnown ? String(value) : ''];
  });
  const typed = Object.fromEntries(given);
  // A job that names no arithmetic was trained in float32.
  const compute = String(lorikeet['compute'] ?? 'float32');
  restoreHyperparameters({ ...typed, method: method.type, compute, ...changes });
  // Changed settings are worth a look.
  const details = byId('hyperparameters').closest('details');
  if (details && Object.keys(changes).length > 0) details.open = true;
  const fieldIds = new Set(['compute', ...FIELDS.map(({ id }) => id)]);
  const others = REPEATED.filter((key) => !fieldIds.has(key) && lorikeet[key] !== undefined);
  return Object.fromEntries(others.map((key) => [key, lorikeet[key]]));
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
const MAX_TYPED = 64;
const MAX_NAME = 63;
const RESERVED = new Set(['base', 'default', 'ft']);

/**
 * Returns the adapter name that the server makes of a typed name.
 * @param {string} typed
 * @returns {string | undefined} undefined if it is invalid
 */
export function adapterName(typed) {
  const name = typed
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9_]+/, '')
    .slice(0, MAX_NAME)
    .replace(/-+$/, '');
  const length = [...typed].length;
  const isRefused = length > MAX_TYPED || /[/\\:\p{C}]/u.test(typed) || typed.includes('..');
  if (isRefused || name === '' || name === '__proto__' || name.includes('..')) return undefined;
  return RESERVED.has(name) ? undefined : name;
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
