// The form of a new job. Files are uploaded as soon as they are chosen, the server plans the job after every change, and
// Start sends exactly what was planned.

import { ApiError, errorText, isAbort, requestJson } from './api.js';
import { Combobox } from './combobox.js';
import { byId, el, fill, problemText, showProblemIn } from './dom.js';
import { FileField } from './file-field.js';
import { size } from './format.js';
import { GraderEditor } from './grader-editor.js';
import { loadDraft, saveDraft } from './job-draft.js';
import {
  chooseMethod,
  chosenMethod,
  createHyperparameterFields,
  hyperparameterFault,
  NameField,
  preselectCompute,
  readHyperparameters,
  restoreHyperparameters,
  typedHyperparameters,
  writeHyperparameters,
} from './job-fields.js';
import { parseLineFaults, readInvalidLines, showFault, showPlan } from './plan-view.js';
import { SplitField } from './split-field.js';
import { convertTable } from './table-dialog.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJob} Job */
/** The body of a request to create a job. @typedef {Record<string, unknown> & { lorikeet: Record<string, unknown> }} Body */

/** The job is planned this long after the last key press. */
const TYPING_MS = 500;

/** The form of a new job. */
export class NewJobForm {
  #training = new FileField(byId('training-drop'), {
    id: 'training-file',
    label: 'Training file',
    help: 'Drop a JSONL file here: {"messages": […]}, {"prompt": …, "completion": …}, {"text": …, "label": …} for a classifier, pairs for DPO, or prompts for rewards. A CSV or TSV table is converted',
    onChange: () => {
      this.#showRow();
      this.#changed();
    },
    convert: (file) => this.#convert(file),
  });
  #validation = new FileField(byId('validation-drop'), {
    id: 'validation-file',
    label: 'Validation file (optional)',
    help: 'Held-out examples show whether the model learns or memorizes',
    onChange: () => this.#changed(),
    convert: (file) => this.#convert(file),
  });
  #split = new SplitField(() => this.#changed());
  #model = new Combobox({
    id: 'start-model',
    label: 'Start from',
    onChange: () => this.#changed(),
  });
  #grader = new GraderEditor({
    onChange: () => this.#changed(),
    openRows: () => this.#training.open(),
    model: () => this.#model.value || 'base',
  });
  #name = new NameField(byId('suffix', HTMLInputElement), () => this.#allowStart());
  #startButton = byId('start-button', HTMLButtonElement);
  #planArea = byId('plan');
  #empty = [...byId('plan').childNodes];
  /** Settings of a repeated job that have no field. @type {Readonly<Record<string, unknown>>} */
  #carried = {};
  /** The response format of a repeated job. @type {unknown} */
  #format;
  /** Until the stored form is restored, nothing is stored. */
  #isRestored = false;
  /** The plan that is being made. @type {{ key: string, controller: AbortController } | undefined} */
  #planning;
  /** The body of the plan on the page. Start sends this. @type {{ key: string, body: Body } | undefined} */
  #planned;
  #isStarting = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** The last request to start a job that had no response. @type {{ body: string, key: string } | undefined} */
  #request;
  #onStarted;

  /** @param {(jobId: string) => void} onStarted */
  constructor(onStarted) {
    this.#onStarted = onStarted;
    fill(byId('start-field'), ...this.#model.parts);
    createHyperparameterFields();
    this.#restore();
    const fields = byId('hyperparameters');
    fields.addEventListener('input', () => this.#typed());
    for (const part of [fields, byId('method')]) {
      part.addEventListener('change', () => this.#changed());
    }
    byId('method').addEventListener('change', () => this.#showRow());
    byId('new-job').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#start();
    });
    void this.#loadModels();
  }

  get #files() {
    return [this.#training, this.#validation];
  }

  /** Fills the form with what the user had entered before leaving the page. */
  #restore() {
    const draft = loadDraft();
    if (draft) {
      this.#carried = draft.carried;
      this.#format = draft.format;
      this.#model.value = draft.model;
      restoreHyperparameters(draft.typed);
      for (const [i, file] of draft.files.entries()) if (file) this.#files[i]?.restore(file);
      this.#split.percent = draft.heldOut ?? 0;
      this.#name.value = draft.suffix;
      this.#grader.text = draft.grader ?? '';
    }
    this.#isRestored = true;
    this.#showRow();
    this.#changed();
  }

  #save() {
    if (!this.#isRestored) return;
    saveDraft({
      model: this.#model.value,
      suffix: this.#name.value,
      typed: typedHyperparameters(),
      carried: this.#carried,
      format: this.#format,
      heldOut: this.#split.percent,
      grader: this.#grader.text,
      files: this.#files.map(({ entry }) => {
        if (!entry) return null;
        const { id, name, byteSize, isOwn } = entry;
        return { id, name, byteSize, isOwn };
      }),
    });
  }

  /** Makes rows of a table. Pairs are for DPO. @param {File} table */
  async #convert(table) {
    const converted = await convertTable(table);
    if (converted) chooseMethod(converted.form.id === 'pairs' ? 'dpo' : 'supervised');
    return converted?.file;
  }

  /**
   * Fills the form with the files and settings of another job.
   * @param {Job} job
   * @param {Readonly<Record<string, string>>} changes of its settings, by field
   */
  async repeat(job, changes) {
    const files = await Promise.all(
      [job.training_file, job.validation_file].map((id) =>
        id === null ? null : requestJson(`v1/files/${id}`).catch(() => undefined),
      ),
    );
    this.#carried = writeHyperparameters(job, changes);
    this.#split.percent = 100 * Number(job.lorikeet.validation_split ?? 0);
    this.#model.value = job.model;
    this.#name.value = job.user_provided_suffix ?? '';
    const { grader, response_format: format } = job.method.reinforcement ?? {};
    if (grader) this.#grader.text = JSON.stringify(grader, null, 2);
    this.#format = format;
    for (const [i, field] of this.#files.entries()) {
      if (files[i]) field.chooseUploaded(files[i]);
    }
    this.#changed();
    if (files.every((file) => file !== undefined)) return;
    showFault(this.#planArea, {
      message: 'A file of that job has been deleted. Choose it again.',
      lines: [],
    });
  }

  /** Shows the grader's row, which nobody sees while another method is chosen. */
  #showRow() {
    if (isRewarded()) void this.#grader.rowsChanged();
  }

  /** Loads the models that a job can start from. */
  async #loadModels() {
    try {
      /** @type {import('../contracts/openai.ts').ModelList} */
      const { data } = await requestJson('v1/models');
      this.#model.setItems(
        data.map(({ id, parent }) => ({
          value: id,
          note: parent === undefined ? 'base' : 'adapter',
        })),
      );
      const base = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
      if (this.#model.value === '') this.#model.value = base;
    } catch (error) {
      showFault(this.#planArea, { message: errorText(error), lines: [] });
    }
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#allowStart();
    this.#typing = setTimeout(() => this.#changed(), TYPING_MS);
  }

  /** Plans the job again if a setting has changed. */
  #changed() {
    clearTimeout(this.#typing);
    this.#split.isHidden = this.#validation.entry !== undefined;
    const fault = this.#obstacle();
    const body = fault === undefined ? this.#body() : undefined;
    const key = body && JSON.stringify(body);
    if (key !== undefined && (key === this.#planning?.key || key === this.#planned?.key)) {
      return this.#allowStart();
    }
    this.#planning?.controller.abort();
    this.#planning = undefined;
    this.#planned = undefined;
    this.#allowStart();
    if (fault) fill(this.#planArea, ...fault);
    if (body && key !== undefined) void this.#plan(key, body);
  }

  /** Returns what to show instead of a plan; undefined if the job can be planned. @returns {Node[] | undefined} */
  #obstacle() {
    const failed = this.#files.find(({ entry }) => entry?.state === 'failed');
    const uploading = this.#files.find(({ entry }) => entry?.state === 'uploading')?.entry;
    if (failed?.entry) {
      const { name, problem } = failed.entry;
      return this.#problem(`${name} was not uploaded: ${problem}`, failed.retry);
    }
    if (uploading) {
      const text = `Uploading ${uploading.name}, ${size(uploading.byteSize)} …`;
      return [el('p.empty.busy', text)];
    }
    if (!this.#training.entry) return this.#empty;
    const fault = hyperparameterFault() ?? (isRewarded() ? this.#grader.fault : undefined);
    return fault === undefined ? undefined : [el('p.problem', fault)];
  }

  /** @param {string} text @param {(() => void) | undefined} retry @returns {Node[]} */
  #problem(text, retry) {
    if (!retry) return [problemText(text)];
    const onclick = () => {
      this.#planArea.focus(); // the button is replaced
      retry();
    };
    return [problemText(text), el('div.row.end', el('button', { onclick }, 'Try again'))];
  }

  /** @param {string} key @param {Body} body */
  async #plan(key, body) {
    const controller = new AbortController();
    const planning = { key, controller };
    this.#planning = planning;
    fill(this.#planArea, el('p.empty.busy', 'Checking every line and planning the job …'));
    try {
      const json = { ...body, lorikeet: { ...body.lorikeet, dry_run: true } };
      const plan = await requestPlan({ json, signal: controller.signal });
      if (this.#planning !== planning) return;
      this.#planned = { key, body };
      preselectCompute(plan.recommended_compute);
      if (key === JSON.stringify(this.#body())) showPlan(this.#planArea, plan);
    } catch (error) {
      if (!isAbort(error) && this.#planning === planning) await this.#showError(error);
    }
    if (this.#planning !== planning) return;
    this.#planning = undefined;
    if (this.#planned)
      this.#changed(); // plans again if the arithmetic is another one now
    else this.#allowStart();
  }

  /** Stores the form, and enables Start if the plan on the page describes its settings. */
  #allowStart() {
    this.#save();
    const isPlanned =
      this.#planned !== undefined &&
      this.#obstacle() === undefined &&
      this.#planned.key === JSON.stringify(this.#body());
    this.#startButton.disabled = !isPlanned || !this.#name.isReady;
  }

  async #start() {
    this.#allowStart();
    if (this.#startButton.disabled || !this.#planned || this.#isStarting) return;
    const suffix = this.#name.value;
    const json = { ...this.#planned.body, ...(suffix !== '' && { suffix }) };
    this.#isStarting = true; // a disabled button would lose the focus
    showProblemIn(byId('start-problem'), '');
    try {
      const headers = { 'idempotency-key': this.#idempotencyKey(JSON.stringify(json)) };
      /** @type {Job} */
      const job = await requestJson('v1/fine_tuning/jobs', { json, headers });
      this.#request = undefined;
      for (const field of this.#files) field.keepUpload();
      this.#save();
      this.#onStarted(job.id);
    } catch (error) {
      const text = `The job was not started: ${errorText(error)}`;
      showProblemIn(byId('start-problem'), text);
    }
    this.#isStarting = false;
  }

  /** The same body gets the same key. Sending it again after a lost response creates no second job. @param {string} body */
  #idempotencyKey(body) {
    if (this.#request?.body !== body) this.#request = { body, key: crypto.randomUUID() };
    return this.#request.key;
  }

  /** @param {unknown} error */
  async #showError(error) {
    const { rest, faults } = parseLineFaults(errorText(error));
    const isValidation = error instanceof ApiError && error.param === 'validation_file';
    const field = isValidation ? this.#validation : this.#training;
    if (faults.size === 0) {
      fill(this.#planArea, ...this.#problem(rest, () => this.#changed()));
      return;
    }
    const file = await field.content().catch(() => undefined);
    const lines = file ? await readInvalidLines(file, faults) : [];
    showFault(this.#planArea, { message: rest, lines });
  }

  /** @returns {Body} */
  #body() {
    const { lorikeet, ...rest } = readHyperparameters({
      grader: this.#grader.value,
      ...(this.#format !== undefined && { response_format: this.#format }),
    });
    const validation = this.#validation.entry;
    const { percent } = this.#split;
    const heldOut = !validation && percent > 0 && { validation_split: percent / 100 };
    return {
      model: this.#model.value || 'base',
      training_file: this.#training.entry?.id,
      ...(validation && { validation_file: validation.id }),
      ...rest,
      lorikeet: { ...this.#carried, ...lorikeet, ...heldOut },
    };
  }
}

function isRewarded() {
  return chosenMethod() === 'reinforcement';
}

/** The server makes few plans at a time, and needs a moment to stop those that a change has outdated. */
const PLAN_TRIES = 20;
const PLAN_RETRY_MS = 1000;

/**
 * Requests a plan, and retries while the server is busy.
 * @param {{ json: unknown, signal: AbortSignal }} options
 * @returns {Promise<import('../contracts/management-api.ts').FineTuningPlan>}
 */
async function requestPlan(options) {
  for (let tries = 1; ; tries++) {
    try {
      return await requestJson('v1/fine_tuning/jobs', options);
    } catch (error) {
      const isBusy = error instanceof ApiError && error.code === 'overloaded';
      if (!isBusy || tries === PLAN_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, PLAN_RETRY_MS));
      options.signal.throwIfAborted();
    }
  }
}
