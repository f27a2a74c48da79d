// The fields of a new job: its name, its hyperparameters, and what they contribute to the request. The server decides
// what a name becomes (src/jobs/names.ts); a test compares the two.
import { ApiError, requestJson } from './api.js';
import { byId, fill, setText } from './dom.js';
import { hyperparametersOf } from './job-facts.js';
import { choiceField, numberField } from './widgets.js';

/** @typedef {'supervised' | 'dpo' | 'reinforcement'} Method */

/**
 * @typedef {object} Field
 * @property {string} id
 * @property {string} label
 * @property {number} min
 * @property {number} [max]
 * @property {boolean} [isInteger]
 * @property {'hyperparameters' | 'lorikeet' | 'job'} parent the object of the request that contains it
 * @property {readonly Method[]} [methods] whose jobs have it; default: all
 */

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
  ['supervised', 'Supervised: from examples'],
  ['dpo', 'DPO: from pairs of outputs'],
  ['reinforcement', 'Reinforcement: from rewards'],
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

/** Puts the fields on the page. */
export function createHyperparameterFields() {
  fill(byId('method-field'), choiceField({ id: 'method', label: 'Method', options: METHODS }));
  fill(
    byId('hyperparameters'),
    ...FIELDS.map(({ parent, ...field }) =>
      numberField({ ...field, placeholder: parent === 'hyperparameters' ? 'auto' : 'default' }),
    ),
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
  for (const { id, label } of fieldsOfMethod()) {
    const field = byId(id, HTMLInputElement);
    if (!field.validity.valid) return `${label}: ${field.validationMessage}`;
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
  for (const { id } of FIELDS) byId(id, HTMLInputElement).value = typed[id] ?? '';
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
  const numbers = Object.entries(values).filter(([, value]) => typeof value === 'number');
  const typed = Object.fromEntries(numbers.map(([id, value]) => [id, String(value)]));
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
  /** @param {Field['parent']} wanted @returns {Record<string, number>} */
  const filled = (wanted) =>
    Object.fromEntries(
      fieldsOfMethod()
        .filter(({ parent }) => parent === wanted)
        .map(({ id }) => /** @type {const} */ ([id, byId(id, HTMLInputElement).value]))
        .filter(([, value]) => value !== '')
        .map(([id, value]) => [id, Number(value)]),
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
    const model = await findModel(name);
    if (adapterName(this.value) !== name) return;
    this.#isChecked = true;
    if (model) this.#show(replacedText(name, model), 'warning');
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

/** The model of a name, or what the server answers instead; undefined if there is none. @param {string} name @returns {Promise<import('../contracts/openai.ts').Model | Error | undefined>} */
async function findModel(name) {
  try {
    return await requestJson(`v1/models/${encodeURIComponent(name)}`, { isQuiet: true });
  } catch (error) {
    return error instanceof ApiError && error.status === 404
      ? undefined
      : /** @type {Error} */ (error);
  }
}

/** Says which requests a successful job will change. @param {string} name @param {import('../contracts/openai.ts').Model | Error} model */
function replacedText(name, model) {
  if (model instanceof Error) return `It is unknown whether ${name} is in use. ${model.message}`;
  const { parent, root } = model;
  if (parent === undefined)
    return `${name} is the base’s name. Requests for it will not get the adapter.`;
  return `In use: requests for ${name} now get ${root}. If the job succeeds, its result becomes the next version and moves latest: they get the new adapter instead.`;
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
