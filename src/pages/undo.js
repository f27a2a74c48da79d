// The offer to undo what the user has just removed. A new offer replaces the one before.
import { byId, setText } from './dom.js';

let act = () => {};
byId('undo-button').addEventListener('click', () => {
  hideUndo();
  byId('prompt').focus();
  act();
});

/** Offers to undo something. @param {string} text says what was done @param {() => void} undo */
export function offerUndo(text, undo) {
  act = undo;
  setText(byId('undo-text'), text);
  byId('undo').hidden = false;
}

/** Takes the offer back. */
export function hideUndo() {
  byId('undo').hidden = true;
}
