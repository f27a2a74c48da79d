// A new job: its files are uploaded as they come, planned by the server after every change, and trained when told to.
import { ApiError, errorText, isAbort, request, requestJson } from './api.js';
import { parseFaults, readBadLines } from './bad-lines.js';
import { Combobox } from './combobox.js';
import { byId, el, fill } from './dom.js';
import { createDropZone } from './drop-zone.js';
import { size } from './format.js';
import { readHyperparameters, showHyperparameters } from './hyperparameters.js';
import { showFault, showPlan } from './plan-view.js';

/** @typedef {{ file: File, id: string }} Uploaded */

/** @param {(jobId: string) => void} onStarted */
export function createNewJob(onStarted) {
  const job = new NewJob(onStarted);
  createDropZone(byId('training-drop'), {
    id: 'training-file',
    label: 'Training file',
    help: 'Drop JSON lines here: {"messages": […]} or {"prompt": …, "completion": …}',
    onFile: (file) => job.setFile('training', file),
  });
  createDropZone(byId('validation-drop'), {
    id: 'validation-file',
    label: 'Validation file, if you have one',
    help: 'Lines that are not trained on show whether it learns or only remembers',
    onFile: (file) => job.setFile('validation', file),
  });
  const start = new Combobox({
    id: 'start-model',
    label: 'Start from',
    onChange: () => job.plan(),
  });
  fill(byId('start-field'), ...start.parts);
  showHyperparameters();
  byId('hyperparameters').addEventListener('change', () => job.plan());
  byId('new-job').addEventListener('submit', (event) => {
    event.preventDefault();
    void job.start();
  });
  job.readModel = () => start.value || 'base';
  void chooseModels(start);
}

/** A job starts from the base, or from a version that is in the store. @param {Combobox} start */
async function chooseModels(start) {
  try {
    /** @type {import('../openai.ts').ModelList} */
    const { data } = await requestJson('v1/models');
    start.setItems(
      data.map(({ id, parent }) => ({
        value: id,
        note: parent === undefined ? 'base' : 'adapter',
      })),
    );
    start.value = data.find(({ parent }) => parent === undefined)?.id ?? 'base';
  } catch (error) {
    showFault(byId('plan'), { message: errorText(error), lines: [] });
  }
}

class NewJob {
  readModel = () => 'base';
  /** @type {Record<'training' | 'validation', Uploaded | undefined>} */
  #files = { training: undefined, validation: undefined };
  /** The newest plan or upload; others are out of date. @type {AbortController | undefined} */
  #asking;
  /** Of one request to start, told again where its answer was lost. */
  #key = crypto.randomUUID();
  #onStarted;

  /** @param {(jobId: string) => void} onStarted */
  constructor(onStarted) {
    this.#onStarted = onStarted;
  }

  /** @param {'training' | 'validation'} role @param {File | undefined} file */
  async setFile(role, file) {
    const before = this.#files[role];
    this.#files[role] = undefined;
    if (before) void discard(before);
    if (file) {
      const isUploaded = await this.#ask(`Uploading ${size(file.size)} …`, async (signal) => {
        const form = new FormData();
        form.append('purpose', 'fine-tune');
        form.append('file', file);
        const { id } = await requestJson('v1/files', { form, signal });
        this.#files[role] = { file, id };
      });
      if (!isUploaded) return;
    }
    if (this.#files.training) await this.plan();
  }

  async plan() {
    const { training } = this.#files;
    if (!training) return;
    await this.#ask('Reading every line, and planning …', async (signal) => {
      const { lorikeet, ...body } = this.#body(training);
      const json = { ...body, lorikeet: { ...lorikeet, dry_run: true } };
      showPlan(byId('plan'), await planPatiently({ json, signal }));
      byId('start-button', HTMLButtonElement).disabled = false;
    });
  }

  async start() {
    const { training } = this.#files;
    const button = byId('start-button', HTMLButtonElement);
    if (!training || button.disabled) return;
    button.disabled = true;
    try {
      const headers = { 'idempotency-key': this.#key };
      const json = this.#body(training);
      /** @type {import('../openai.ts').FineTuningJob} */
      const job = await requestJson('v1/fine_tuning/jobs', { json, headers });
      this.#key = crypto.randomUUID();
      this.#onStarted(job.id);
    } catch (error) {
      await this.#showError(error);
    } finally {
      button.disabled = false;
    }
  }

  /** Whether it came to its end; what went wrong is shown. @param {string} text @param {(signal: AbortSignal) => Promise<void>} ask */
  async #ask(text, ask) {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    byId('start-button', HTMLButtonElement).disabled = true;
    fill(byId('plan'), el('p', { className: 'empty busy' }, text));
    try {
      await ask(asking.signal);
      return true;
    } catch (error) {
      if (!isAbort(error)) await this.#showError(error);
      return false;
    }
  }

  /** @param {unknown} error */
  async #showError(error) {
    const { rest, faults } = parseFaults(errorText(error));
    const isValidation = error instanceof ApiError && error.param === 'validation_file';
    const file = (isValidation ? this.#files.validation : this.#files.training)?.file;
    const lines = file && faults.size > 0 ? await readBadLines(file, faults) : [];
    showFault(byId('plan'), { message: rest, lines });
  }

  /** @param {Uploaded} training */
  #body(training) {
    const { validation } = this.#files;
    const suffix = byId('suffix', HTMLInputElement).value.trim();
    return {
      model: this.readModel(),
      training_file: training.id,
      ...(validation && { validation_file: validation.id }),
      ...(suffix !== '' && { suffix }),
      ...readHyperparameters(),
    };
  }
}

/** The server plans few at once, and those that changes have made out of date end a moment later. */
const PLAN_TRIES = 20;
const PLAN_RETRY_MS = 1000;

/** @param {{ json: unknown, signal: AbortSignal }} call @returns {Promise<import('../openai.ts').FineTuningPlan>} */
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

/** Nobody has a use for it any more. @param {Uploaded} uploaded */
async function discard({ id }) {
  await request(`v1/files/${id}`, { method: 'DELETE' }).catch(() => {});
}
