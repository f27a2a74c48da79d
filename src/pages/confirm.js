// Asks before something is deleted that does not come back. Knows nothing of what it is.
import { byId, say } from './dom.js';

/** @param {{ title: string, text: string, action: string }} question @returns {Promise<boolean>} */
export function confirmed({ title, text, action }) {
  const dialog = byId('confirm-dialog', HTMLDialogElement);
  say(byId('confirm-title'), title);
  say(byId('confirm-text'), text);
  say(byId('confirm-yes'), action);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
