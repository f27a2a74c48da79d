// The reader's API key: kept for this tab only, asked for where the server wants one.
import { byId } from './dom.js';

const ITEM = 'lorikeet.key';

/** Those who wait for one, as one. @type {Promise<boolean> | undefined} */
let asking;

export function apiKey() {
  return sessionStorage.getItem(ITEM) ?? undefined;
}

/** Headers of a request in the reader's name. @returns {Record<string, string>} */
export function keyHeaders() {
  const key = apiKey();
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/** Resolves with whether the reader gave one. */
export function askForKey() {
  byId('key-button').hidden = false;
  asking ??= openDialog().finally(() => {
    asking = undefined;
  });
  return asking;
}

/** @returns {Promise<boolean>} */
function openDialog() {
  const dialog = byId('key-dialog', HTMLDialogElement);
  const input = byId('key-input', HTMLInputElement);
  byId('key-problem').hidden = apiKey() === undefined;
  input.value = '';
  const ends = new AbortController();
  const { signal } = ends;
  return new Promise((resolve) => {
    let isGiven = false;
    byId('key-form').addEventListener(
      'submit',
      (event) => {
        event.preventDefault();
        sessionStorage.setItem(ITEM, input.value.trim());
        isGiven = true;
        dialog.close();
      },
      { signal },
    );
    byId('key-cancel').addEventListener('click', () => dialog.close(), { signal });
    dialog.addEventListener(
      'close',
      () => {
        ends.abort();
        resolve(isGiven);
      },
      { signal },
    );
    dialog.showModal();
  });
}

/** Shows the header's button where there is a key; another one makes the page anew. */
export function watchKeyButton() {
  const button = byId('key-button');
  button.hidden = apiKey() === undefined;
  button.addEventListener('click', async () => {
    byId('key-problem').hidden = true;
    if (await askForKey()) location.reload();
  });
}
