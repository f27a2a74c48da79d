// One of a job's files, from the reader's choice to the server's id for it. Each upload has its own life: nothing but its
// own removal ends it. Knows neither plans nor jobs.
import { errorText, isAbort, request, requestJson } from './api.js';
import { createDropZone } from './drop-zone.js';
import { size } from './format.js';

/**
 * `uploading` until the server has the file, then `ready` or `failed`.
 * @typedef {object} Choice
 * @property {'uploading' | 'ready' | 'failed'} state
 * @property {string} name
 * @property {number} byteSize
 * @property {string} id the server's, once it is ready
 * @property {string} problem why it failed
 * @property {File} [file] absent if the file was on the server before
 * @property {AbortController} ends aborted when the reader takes the file out
 */

/** @type {Readonly<Record<Choice['state'], string>>} */
const STATE_NOTES = { uploading: 'uploading …', ready: 'uploaded', failed: 'not uploaded' };

export class FileSlot {
  /** @type {Choice | undefined} */
  #choice;
  #zone;
  #onChange;

  /** @param {HTMLElement} place @param {{ id: string, label: string, help: string, onChange: () => void }} options */
  constructor(place, { onChange, ...zone }) {
    this.#onChange = onChange;
    this.#zone = createDropZone(place, { ...zone, onFile: (file) => this.#choose(file) });
  }

  get choice() {
    return this.#choice;
  }

  /** Puts in a file that the server has. @param {{ id: string, filename: string, bytes: number }} file */
  putUploaded({ id, filename, bytes }) {
    this.#replace({
      state: 'ready',
      name: filename,
      byteSize: bytes,
      id,
      problem: '',
      ends: new AbortController(),
    });
  }

  /** Uploads again what failed. */
  retry() {
    if (this.#choice?.state === 'failed') this.#choose(this.#choice.file);
  }

  /** The file's bytes, to show lines of it. @returns {Promise<Blob | undefined>} */
  async content() {
    const choice = this.#choice;
    if (choice?.state !== 'ready') return undefined;
    return choice.file ?? (await request(`v1/files/${choice.id}/content`)).blob();
  }

  /** @param {File | undefined} file */
  #choose(file) {
    if (!file) return this.#replace(undefined);
    /** @type {Choice} */
    const choice = {
      state: 'uploading',
      name: file.name,
      byteSize: file.size,
      id: '',
      problem: '',
      file,
      ends: new AbortController(),
    };
    this.#replace(choice);
    void this.#upload(choice, file);
  }

  /** @param {Choice} choice @param {File} file */
  async #upload(choice, file) {
    const form = new FormData();
    form.append('purpose', 'fine-tune');
    form.append('file', file);
    try {
      const { id } = await requestJson('v1/files', { form, signal: choice.ends.signal });
      choice.id = id;
      choice.state = 'ready';
    } catch (error) {
      if (isAbort(error)) return;
      choice.state = 'failed';
      choice.problem = errorText(error);
    }
    if (this.#choice === choice) this.#show();
    else void discard(choice);
  }

  /** @param {Choice | undefined} choice */
  #replace(choice) {
    const before = this.#choice;
    before?.ends.abort();
    if (before) void discard(before);
    this.#choice = choice;
    this.#show();
  }

  #show() {
    const choice = this.#choice;
    this.#zone.show(
      choice && `${choice.name}, ${size(choice.byteSize)}, ${STATE_NOTES[choice.state]}`,
    );
    this.#onChange();
  }
}

/** Deletes an upload that nobody will use. One that was on the server before stays. @param {Choice} choice */
async function discard({ id, file }) {
  if (id === '' || !file) return;
  await request(`v1/files/${id}`, { method: 'DELETE' }).catch(() => {});
}
