// The editor of a job's grader: JSON that the server checks as it is typed, and a trial of it on a row of the training file.
import { ApiError, errorText, requestJson } from './api.js';
import { byId, definitions, el, fill, problemText, setText } from './dom.js';
import { figure } from './format.js';
import {
  faultsOf,
  missingNames,
  PYTHON,
  readLine,
  readRow,
  TEMPLATES,
  writeTemplate,
} from './grader.js';
import { confirmAction } from './widgets.js';

/** @typedef {import('./grader.js').PromptRow} PromptRow */
/** @typedef {import('../contracts/fine-tuning-api.ts').GraderRun} GraderRun */

const GRADERS = 'v1/fine_tuning/alpha/graders';
/** The server is asked this long after the last key press. */
const TYPING_MS = 400;
/** As the trainer does, unless the form says otherwise. */
const SAMPLE_TOKENS = 512;
/** The shown characters of a row. */
const MAX_SHOWN = 2000;

const REPLACED = {
  title: 'Replace the grader?',
  text: 'What you have written is lost.',
  action: 'Replace',
};

/**
 * @typedef {object} GraderEditorOptions
 * @property {() => void} onChange
 * @property {() => Promise<ReadableStream<Uint8Array> | undefined>} openRows the training file; undefined if there is none
 * @property {() => string} model whose completions are sampled
 */

/** The editor. */
export class GraderEditor {
  #options;
  #field = byId('grader', HTMLTextAreaElement);
  #templates = byId('grader-template', HTMLSelectElement);
  #output = byId('trial-output', HTMLTextAreaElement);
  #row = byId('trial-row', HTMLInputElement);
  #result = byId('trial-result');
  /** The text of a template. It follows the rows until the user edits it. */
  #pristine = '';
  #hasAskedForPython = false;
  /** The row on the page. @type {PromptRow | undefined} */
  #shown;
  /** Why the server refuses the grader. */
  #refusal = '';
  /** @type {AbortController} */
  #checking = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /** @param {GraderEditorOptions} options */
  constructor(options) {
    this.#options = options;
    fill(this.#templates, ...TEMPLATES.filter(({ id }) => id !== PYTHON).map(toOption));
    this.#templates.addEventListener('change', () => void this.#replace());
    this.#field.addEventListener('input', () => this.#typed());
    this.#row.addEventListener('change', () => void this.rowsChanged());
    byId('trial-sample').addEventListener('click', () => void this.#sample());
    byId('trial-run').addEventListener('click', () => void this.#grade());
    this.text = '';
  }

  /** As typed; empty: a template. */
  get text() {
    return this.#field.value === this.#pristine ? '' : this.#field.value;
  }

  set text(text) {
    if (text === '') this.#pristine = this.#template();
    this.#field.value = text || this.#pristine;
    this.#showType();
    void this.#check();
  }

  /** The grader; undefined if the text is not JSON. @returns {unknown} */
  get value() {
    try {
      return JSON.parse(this.#field.value);
    } catch {
      return undefined;
    }
  }

  /** Why no job can have this grader; undefined if nothing is known against it. */
  get fault() {
    if (this.value === undefined) return 'The grader is not JSON.';
    return this.#refusal === '' ? undefined : `The grader is not valid: ${this.#refusal}`;
  }

  /** Selects the template of the grader's kind. */
  #showType() {
    const { type } = /** @type {{ type?: unknown }} */ (this.value ?? {});
    if ([...this.#templates.options].some(({ value }) => value === type)) {
      this.#templates.value = String(type);
    }
  }

  /** Adds the template of a grader in Python if this server runs them. */
  async #offerPython() {
    if (this.#hasAskedForPython) return; // the server counts each refusal as an error
    this.#hasAskedForPython = true;
    if ((await refusalOf(JSON.parse(writeTemplate(PYTHON, undefined)))) !== '') return;
    fill(this.#templates, ...TEMPLATES.map(toOption));
    this.#showType();
  }

  /** Reads the row of the trial again, because the file or its number has changed. */
  async rowsChanged() {
    void this.#offerPython();
    const number = this.#row.valueAsNumber;
    const stream = await this.#options.openRows().catch(() => undefined);
    const line = stream && number >= 1 ? await readLine(stream, number) : undefined;
    this.#shown = line === undefined ? undefined : readRow(line);
    const isMissing = stream ? `The file has no row ${number}.` : 'Choose a training file first.';
    fill(byId('trial-item'), this.#shown ? shownRow(this.#shown) : el('p.help', isMissing));
    byId('trial-sample', HTMLButtonElement).disabled = !this.#shown;
    if (this.text === '' && this.#template() !== this.#pristine) {
      this.text = '';
      this.#options.onChange();
    } else this.#showVerdict();
  }

  #template() {
    return writeTemplate(this.#templates.value, this.#shown);
  }

  async #replace() {
    if (this.text !== '' && !(await confirmAction(REPLACED))) return this.#showType();
    this.text = '';
    this.#options.onChange();
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#refusal = '';
    this.#showVerdict('…');
    this.#typing = setTimeout(async () => {
      await this.#check();
      this.#options.onChange();
    }, TYPING_MS);
  }

  /** Asks the server whether the grader is valid. */
  async #check() {
    clearTimeout(this.#typing);
    this.#checking.abort();
    this.#checking = new AbortController();
    const { signal } = this.#checking;
    const { value: grader } = this;
    this.#refusal = '';
    const refusal = grader === undefined ? '' : await refusalOf(grader, signal);
    if (signal.aborted) return;
    this.#refusal = refusal;
    this.#showVerdict();
  }

  /** @param {string} [text] instead of a verdict, while there is none */
  #showVerdict(text = this.#verdict()) {
    const isBad = this.fault !== undefined;
    setText(byId('grader-verdict'), text);
    byId('grader-verdict').classList.toggle('bad', isBad);
    this.#field.setAttribute('aria-invalid', String(isBad));
  }

  #verdict() {
    if (this.#refusal !== '') return this.#refusal;
    try {
      JSON.parse(this.#field.value);
    } catch (error) {
      return `Not JSON: ${errorText(error)}`;
    }
    const missing = this.#shown ? missingNames(this.#field.value, this.#shown) : [];
    if (missing.length === 0) return 'Valid';
    const keys = Object.keys(this.#shown?.item ?? {});
    const has = keys.length === 0 ? 'no keys besides messages' : keys.join(', ');
    return `Valid, but row ${this.#row.value} lacks ${missing.join(', ')}. It has ${has}.`;
  }

  /** Has the model complete the row's prompt, and grades the completion. */
  async #sample() {
    const { messages, tools } = this.#shown ?? {};
    const model = this.#options.model();
    const json = { model, messages, ...(tools !== undefined && { tools }), temperature: 1 };
    const maxTokens = Number(byId('completion_length', HTMLInputElement).value) || SAMPLE_TOKENS;
    await this.#try('Sampling …', async () => {
      const { choices } = await complete({ ...json, max_tokens: maxTokens }).catch((error) => {
        const isLong = error instanceof ApiError && error.code === 'context_length_exceeded';
        if (isLong) return complete(json); // up to the end of the context, as in training
        throw error;
      });
      this.#output.value = choices[0]?.message.content ?? '';
      return this.#run();
    });
  }

  async #grade() {
    await this.#try('Grading …', () => this.#run());
  }

  /** @returns {Promise<GraderRun>} */
  #run() {
    const { value: grader } = this;
    const json = { grader, model_sample: this.#output.value, item: this.#shown?.item };
    return requestJson(`${GRADERS}/run`, { json });
  }

  /** @param {string} what @param {() => Promise<GraderRun>} work */
  async #try(what, work) {
    setText(this.#result, what);
    try {
      showRun(this.#result, await work());
    } catch (error) {
      fill(this.#result, el('p.problem', errorText(error)));
    }
  }
}

/** @param {import('./grader.js').Template} template */
function toOption({ id, label }) {
  return el('option', { value: id }, `${label} (${id})`);
}

/** Why the server refuses a grader; empty: it does not. @param {unknown} grader @param {AbortSignal} [signal] */
async function refusalOf(grader, signal) {
  /** @type {Promise<unknown>} */
  const checking = requestJson(`${GRADERS}/validate`, { json: { grader }, signal, isQuiet: true });
  return checking.then(() => '', errorText);
}

/** @param {unknown} json @returns {Promise<import('../contracts/openai.ts').ChatCompletion>} */
function complete(json) {
  return requestJson('v1/chat/completions', { json });
}

/** @param {HTMLElement} area @param {GraderRun} run */
function showRun(area, run) {
  const parts = Object.entries(run.sub_rewards).map(
    ([name, score]) => /** @type {const} */ ([name, figure(score)]),
  );
  const faults = faultsOf(run);
  fill(
    area,
    el('dl.pairs', ...definitions([['Reward', el('strong', figure(run.reward))], ...parts])),
    faults !== '' && problemText(faults),
  );
}

/** @param {PromptRow} row */
function shownRow({ messages, item }) {
  const texts = Array.isArray(messages)
    ? messages.map(({ role, content }) => `${role}: ${asText(content)}`)
    : [];
  const values = Object.entries(item).map(([key, value]) => `item.${key}: ${asText(value)}`);
  const area = { tabIndex: 0, role: 'group', 'aria-label': 'The row' }; // it scrolls
  return el('pre.example', area, [...texts, ...values].join('\n').slice(0, MAX_SHOWN));
}

/** @param {unknown} value */
function asText(value) {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
