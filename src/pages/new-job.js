// A new job: its files are uploaded as they are chosen, the server plans it after every change, and Start sends exactly
// what was planned.

import { NameField } from './adapter-name.js';
import { ApiError, errorText, isAbort, requestJson } from './api.js';
import { parseFaults, readBadLines } from './bad-lines.js';
import { Combobox } from './combobox.js';
import { byId, el, fill, say } from './dom.js';
import { FileSlot } from './file-slot.js';
import { size } from './format.js';
import {
  faultOfHyperparameters,
  readHyperparameters,
  showHyperparameters,
  writeHyperparameters,
} from './hyperparameters.js';
import { showFault, showPlan } from './plan-view.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */
/** @typedef {Record<string, unknown> & { lorikeet: Record<string, unknown> }} Body of a request to create a job */

/** After the last key was pressed in a field. */
const TYPING_MS = 500;

/**
 * @param {(jobId: string) => void} onStarted
 * @returns {{ repeat: (job: Job) => Promise<void> }} repeat: fills the form with what a job was made of
 */
export function createNewJob(onStarted) {
  const job = new NewJob(onStarted);
  return { repeat: (other) => job.repeat(other) };
}

class NewJob {
  #training = new FileSlot(byId('training-drop'), {
    id: 'training-file',
    label: 'Training file',
    help: 'Drop JSON lines here: {"messages": […]} or {"prompt": …, "completion": …}',
    onChange: () => this.#changed(),
  });
  #validation = new FileSlot(byId('validation-drop'), {
    id: 'validation-file',
    label: 'Validation file (optional)',
    help: 'Examples that are not trained on show whether it learns or only memorizes',
    onChange: () => this.#changed(),
  });
  #model = new Combobox({
    id: 'start-model',
    label: 'Start from',
    onChange: () => this.#changed(),
  });
  #name = new NameField(byId('suffix', HTMLInputElement), () => this.#allowStart());
  #startButton = byId('start-button', HTMLButtonElement);
  #place = byId('plan');
  #empty = [...byId('plan').childNodes];
  /** Settings of a repeated job that the form has no fields for. @type {Record<string, unknown>} */
  #carried = {};
  /** The plan that is being made. @type {{ key: string, ends: AbortController } | undefined} */
  #planning;
  /** What the shown plan is of: Start sends this. @type {{ key: string, body: Body } | undefined} */
  #planned;
  #isStarting = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** The last request to start that had no answer. @type {{ body: string, key: string } | undefined} */
  #request;
  #onStarted;

  /** @param {(jobId: string) => void} onStarted */
  constructor(onStarted) {
    this.#onStarted = onStarted;
    fill(byId('start-field'), ...this.#model.parts);
    showHyperparameters();
    const fields = byId('hyperparameters');
    fields.addEventListener('input', () => this.#typed());
    fields.addEventListener('change', () => this.#changed());
    byId('new-job').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#start();
    });
    void this.#chooseModels();
  }

  /** @param {Job} job */
  async repeat(job) {
    const files = await Promise.all(
      [job.training_file, job.validation_file].map((id) =>
        id === null ? null : requestJson(`v1/files/${id}`).catch(() => undefined),
      ),
    );
    this.#carried = writeHyperparameters(job);
    this.#model.value = job.model;
    this.#name.value = job.user_provided_suffix ?? '';
    for (const [i, slot] of [this.#training, this.#validation].entries()) {
      if (files[i]) slot.putUploaded(files[i]);
    }
    this.#changed();
    if (files.every((file) => file !== undefined)) return;
    showFault(this.#place, {
      message: 'A file of that job is no longer on the server. Choose it again.',
      lines: [],
    });
  }

  /** The base, and versions in the store, which a job can start from. */
  async #chooseModels() {
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
      showFault(this.#place, { message: errorText(error), lines: [] });
    }
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#allowStart();
    this.#typing = setTimeout(() => this.#changed(), TYPING_MS);
  }

  /** Something that a plan is made of changed. */
  #changed() {
    clearTimeout(this.#typing);
    const fault = this.#waitsFor();
    const body = fault === undefined ? this.#body() : undefined;
    const key = body && JSON.stringify(body);
    if (key !== undefined && (key === this.#planning?.key || key === this.#planned?.key)) {
      return this.#allowStart();
    }
    this.#planning?.ends.abort();
    this.#planning = undefined;
    this.#planned = undefined;
    this.#allowStart();
    if (fault) fill(this.#place, ...fault);
    if (body && key !== undefined) void this.#plan(key, body);
  }

  /** What is shown instead of a plan; undefined if all is there that a plan needs. @returns {Node[] | undefined} */
  #waitsFor() {
    const slots = [this.#training, this.#validation];
    const failed = slots.find(({ choice }) => choice?.state === 'failed');
    const uploading = slots.find(({ choice }) => choice?.state === 'uploading')?.choice;
    if (failed?.choice) {
      const { name, problem } = failed.choice;
      return this.#problem(`${name} was not uploaded: ${problem}`, () => failed.retry());
    }
    if (uploading) {
      const text = `Uploading ${uploading.name}, ${size(uploading.byteSize)} …`;
      return [el('p', { className: 'empty busy' }, text)];
    }
    if (!this.#training.choice) return this.#empty;
    const fault = faultOfHyperparameters();
    return fault === undefined ? undefined : [el('p', { className: 'problem' }, fault)];
  }

  /** @param {string} text @param {() => void} retry @returns {Node[]} */
  #problem(text, retry) {
    return [
      el('p', { className: 'problem', role: 'alert' }, text),
      el(
        'div',
        { className: 'row end' },
        el('button', { type: 'button', onclick: retry }, 'Try again'),
      ),
    ];
  }

  /** @param {string} key @param {Body} body */
  async #plan(key, body) {
    const ends = new AbortController();
    const planning = { key, ends };
    this.#planning = planning;
    fill(
      this.#place,
      el('p', { className: 'empty busy' }, 'Reading every line and planning the run …'),
    );
    try {
      const json = { ...body, lorikeet: { ...body.lorikeet, dry_run: true } };
      const plan = await planPatiently({ json, signal: ends.signal });
      if (this.#planning !== planning) return;
      this.#planned = { key, body };
      showPlan(this.#place, plan);
    } catch (error) {
      if (!isAbort(error) && this.#planning === planning) await this.#showError(error);
    }
    if (this.#planning !== planning) return;
    this.#planning = undefined;
    this.#allowStart();
  }

  /** Start is possible while the shown plan is one of what the form holds. */
  #allowStart() {
    const isPlanned =
      this.#planned !== undefined &&
      this.#waitsFor() === undefined &&
      this.#planned.key === JSON.stringify(this.#body());
    this.#startButton.disabled = !isPlanned || !this.#name.isValid || this.#isStarting;
  }

  async #start() {
    this.#allowStart();
    if (this.#startButton.disabled || !this.#planned) return;
    const suffix = this.#name.value;
    const json = { ...this.#planned.body, ...(suffix !== '' && { suffix }) };
    this.#isStarting = true;
    this.#allowStart();
    byId('start-problem').hidden = true;
    try {
      const headers = { 'idempotency-key': this.#keyOf(JSON.stringify(json)) };
      /** @type {Job} */
      const job = await requestJson('v1/fine_tuning/jobs', { json, headers });
      this.#request = undefined;
      this.#onStarted(job.id);
    } catch (error) {
      say(byId('start-problem'), `The job was not started: ${errorText(error)}`);
      byId('start-problem').hidden = false;
    }
    this.#isStarting = false;
    this.#allowStart();
  }

  /** The same for the same request, so that sending it again after a lost answer makes no second job. @param {string} body */
  #keyOf(body) {
    if (this.#request?.body !== body) this.#request = { body, key: crypto.randomUUID() };
    return this.#request.key;
  }

  /** @param {unknown} error */
  async #showError(error) {
    const { rest, faults } = parseFaults(errorText(error));
    const isValidation = error instanceof ApiError && error.param === 'validation_file';
    const slot = isValidation ? this.#validation : this.#training;
    if (faults.size === 0) {
      fill(this.#place, ...this.#problem(rest, () => this.#changed()));
      return;
    }
    const file = await slot.content().catch(() => undefined);
    showFault(this.#place, { message: rest, lines: file ? await readBadLines(file, faults) : [] });
  }

  /** @returns {Body} */
  #body() {
    const { lorikeet, ...rest } = readHyperparameters();
    const validation = this.#validation.choice;
    return {
      model: this.#model.value || 'base',
      training_file: this.#training.choice?.id,
      ...(validation && { validation_file: validation.id }),
      ...rest,
      lorikeet: { ...this.#carried, ...lorikeet },
    };
  }
}

/** The server plans few jobs at once, and takes a moment to end those that a change has outdated. */
const PLAN_TRIES = 20;
const PLAN_RETRY_MS = 1000;

/** @param {{ json: unknown, signal: AbortSignal }} call @returns {Promise<import('../contracts/openai.ts').FineTuningPlan>} */
async function planPatiently(call) {
  for (let tries = 1; ; tries++) {
    try {
      return await requestJson('v1/fine_tuning/jobs', call);
    } catch (error) {
      const isBusy = error instanceof ApiError && error.code === 'overloaded';
      if (!isBusy || tries === PLAN_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, PLAN_RETRY_MS));
      call.signal.throwIfAborted();
    }
  }
}
