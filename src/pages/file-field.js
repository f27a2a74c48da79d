// A field for one of a job's files: the user drops or chooses a file, and it is uploaded immediately. Removing or replacing a
// file also deletes its upload. Knows neither plans nor jobs.
import { errorText, isAbort, request, requestJson } from './api.js';
import { el, fill } from './dom.js';
import { size } from './format.js';
import { chooseUpload } from './upload-dialog.js';

/**
 * The chosen file.
 * @typedef {object} ChosenFile
 * @property {'uploading' | 'ready' | 'failed'} state
 * @property {string} name
 * @property {number} byteSize
 * @property {string} id the server's, once it is ready
 * @property {string} problem why the upload failed
 * @property {boolean} isOwn whether the upload belongs to this form alone, so that it is deleted with its place there
 * @property {File} [file] absent if the file was on the server before the page was opened
 * @property {AbortController} upload aborted when the user removes the file
 */

/** A file as this tab stores it. @typedef {Pick<ChosenFile, 'id' | 'name' | 'byteSize' | 'isOwn'>} StoredFile */

/**
 * @typedef {object} FileFieldOptions
 * @property {string} id
 * @property {string} label
 * @property {string} help
 * @property {() => void} onChange
 * @property {(file: File) => Promise<File | undefined>} convert makes a JSONL file of a table; undefined if the user does not
 *   want it
 */

const TABLE = /\.(?:csv|tsv)$/i;

/** @type {Readonly<Record<ChosenFile['state'], string>>} */
const STATE_NOTES = { uploading: 'uploading …', ready: 'uploaded', failed: 'not uploaded' };

/** A drop zone with the upload of its file. */
export class FileField {
  /** @type {ChosenFile | undefined} */
  #entry;
  #zone;
  #note;
  #bar = el('progress', { hidden: true, max: 1, 'aria-label': 'Upload' });
  #reuseButton;
  #removeButton;
  #options;

  /** @param {HTMLElement} zone @param {FileFieldOptions} options */
  constructor(zone, options) {
    const { id, label, help } = options;
    this.#zone = zone;
    this.#options = options;
    this.#note = el('span.help', { id: `${id}-help` }, help);
    const input = el('input', {
      id,
      type: 'file',
      accept: '.jsonl,.json,.csv,.tsv,application/jsonl,text/csv,text/tab-separated-values',
      className: 'hidden',
      'aria-describedby': `${id}-help`,
      onchange: () => {
        const file = input.files?.[0];
        input.value = ''; // so that choosing the same file again, once it is corrected, is a change
        if (file) void this.#take(file);
      },
    });
    this.#removeButton = el(
      'button.quiet.small',
      {
        hidden: true,
        'aria-label': `Remove: ${label}`,
        onclick: () => {
          input.focus();
          this.#replace(undefined);
        },
      },
      'Remove',
    );
    this.#reuseButton = el(
      'button.quiet.small',
      {
        'aria-label': `Use an uploaded file: ${label}`,
        onclick: async () => {
          const chosen = await chooseUpload();
          if (!chosen) return;
          input.focus(); // this button is hidden now
          this.chooseUploaded(chosen);
        },
      },
      'Use an uploaded file',
    );
    const text = el('label', { htmlFor: id }, el('strong', label), this.#note, this.#bar);
    fill(zone, input, text, this.#reuseButton, this.#removeButton);
    this.#acceptDrops();
  }

  get entry() {
    return this.#entry;
  }

  /** Chooses a file that is on the server already. @param {{ id: string, filename: string, bytes: number }} file */
  chooseUploaded({ id, filename, bytes }) {
    this.restore({ id, name: filename, byteSize: bytes, isOwn: false });
  }

  /** Chooses a file from before the page was opened. Without an id its upload has not ended. @param {StoredFile} file */
  restore({ id, ...file }) {
    const isReady = id !== '';
    this.#replace({
      ...file,
      id,
      state: isReady ? 'ready' : 'failed',
      problem: isReady ? '' : 'The page was left during the upload. Choose the file again.',
      upload: new AbortController(),
    });
  }

  /** Repeats a failed upload; undefined if the user must choose the file again. @returns {(() => void) | undefined} */
  get retry() {
    const { state, file } = this.#entry ?? {};
    return state === 'failed' && file ? () => this.#choose(file) : undefined;
  }

  /** Keeps the upload when the file is removed or replaced, because a job needs it. */
  keepUpload() {
    if (this.#entry) this.#entry.isOwn = false;
  }

  /** Returns the file's bytes; undefined if it is not uploaded. @returns {Promise<Blob | undefined>} */
  async content() {
    const entry = this.#entry;
    if (entry?.state !== 'ready') return undefined;
    return entry.file ?? (await request(`v1/files/${entry.id}/content`)).blob();
  }

  /** Opens the file's bytes, of which a reader may take a part; undefined if it is not uploaded. @returns {Promise<ReadableStream<Uint8Array> | undefined>} */
  async open() {
    const entry = this.#entry;
    if (entry?.state !== 'ready') return undefined;
    return (
      entry.file?.stream() ?? (await request(`v1/files/${entry.id}/content`)).body ?? undefined
    );
  }

  #acceptDrops() {
    const zone = this.#zone;
    zone.addEventListener('dragover', (event) => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.add('over');
    });
    zone.addEventListener('dragleave', () => zone.classList.remove('over'));
    zone.addEventListener('drop', (event) => {
      event.preventDefault();
      zone.classList.remove('over');
      const file = event.dataTransfer?.files[0];
      if (file) void this.#take(file);
    });
  }

  /** Takes a file that the user has chosen. A table becomes JSONL first. @param {File} file */
  async #take(file) {
    const rows = TABLE.test(file.name) ? await this.#options.convert(file) : file;
    if (rows) this.#choose(rows);
  }

  /** @param {File} file */
  #choose(file) {
    /** @type {ChosenFile} */
    const entry = {
      state: 'uploading',
      name: file.name,
      byteSize: file.size,
      id: '',
      problem: '',
      isOwn: true,
      file,
      upload: new AbortController(),
    };
    this.#replace(entry);
    void this.#upload(entry, file);
  }

  /** @param {ChosenFile} entry @param {File} file */
  async #upload(entry, file) {
    const form = new FormData();
    form.append('purpose', 'fine-tune');
    form.append('file', file);
    try {
      const { signal } = entry.upload;
      const onProgress = (/** @type {number} */ share) => {
        if (this.#entry === entry) this.#bar.value = share;
      };
      const { id } = await requestJson('v1/files', { form, signal, onProgress });
      entry.id = id;
      entry.state = 'ready';
    } catch (error) {
      if (isAbort(error)) return;
      entry.state = 'failed';
      entry.problem = errorText(error);
    }
    if (this.#entry === entry) this.#show();
    else void deleteUpload(entry);
  }

  /** @param {ChosenFile | undefined} entry */
  #replace(entry) {
    const before = this.#entry;
    before?.upload.abort();
    if (before) void deleteUpload(before);
    this.#entry = entry;
    this.#show();
  }

  #show() {
    const entry = this.#entry;
    const note = entry && `${entry.name}, ${size(entry.byteSize)}, ${STATE_NOTES[entry.state]}`;
    fill(this.#note, note ?? this.#options.help);
    this.#removeButton.hidden = !entry;
    this.#reuseButton.hidden = entry !== undefined;
    this.#bar.hidden = entry?.state !== 'uploading';
    if (entry?.state !== 'uploading') this.#bar.value = 0;
    this.#zone.classList.toggle('full', entry !== undefined);
    this.#options.onChange();
  }
}

/** Deletes an upload that nothing else uses. @param {ChosenFile} entry */
async function deleteUpload({ id, isOwn }) {
  if (id === '' || !isOwn) return;
  await request(`v1/files/${id}`, { method: 'DELETE' }).catch(() => {});
}

// Files that are dropped outside a field are ignored. The browser would leave the page and open them.
addEventListener('dragover', (event) => {
  event.preventDefault();
  if (event.dataTransfer) event.dataTransfer.dropEffect = 'none';
});
addEventListener('drop', (event) => event.preventDefault());
