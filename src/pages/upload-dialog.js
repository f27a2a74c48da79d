// The dialog in which the user chooses one of the files that are on the server already.
import { errorText, requestJson } from './api.js';
import { byId, el, setText } from './dom.js';
import { dateAndTime, size } from './format.js';
import { createTable, number } from './widgets.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FileObject} FileObject */

/** Older files are chosen by repeating their jobs. */
const MAX_FILES = 100;

/** Asks for a file. @returns {Promise<FileObject | undefined>} undefined if the user chooses none */
export async function chooseUpload() {
  const dialog = byId('uploads-dialog', HTMLDialogElement);
  /** @type {FileObject | undefined} */
  let chosen;
  const showRows = createTable(byId('uploads'), {
    caption: 'Uploaded files',
    columns: ['File', number('Size'), 'Uploaded', 'Action'],
  });
  byId('uploads').hidden = true;
  setText(byId('uploads-help'), 'Loading …');
  const closed = new Promise((resolve) =>
    dialog.addEventListener('close', resolve, { once: true }),
  );
  dialog.showModal();
  try {
    /** @type {{ data: FileObject[] }} */
    const { data } = await requestJson(`v1/files?purpose=fine-tune&limit=${MAX_FILES}`);
    byId('uploads').hidden = data.length === 0;
    setText(byId('uploads-help'), data.length === 0 ? 'No files yet.' : '');
    const choose = (/** @type {FileObject} */ file) => {
      chosen = file;
      dialog.close();
    };
    showRows(
      data.map((file) => [
        file.filename,
        size(file.bytes),
        dateAndTime(file.created_at),
        el(
          'button.small',
          { 'aria-label': `Use ${file.filename}`, onclick: () => choose(file) },
          'Use',
        ),
      ]),
    );
  } catch (error) {
    setText(byId('uploads-help'), errorText(error));
  }
  await closed;
  return chosen;
}
