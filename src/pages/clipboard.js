// Copying text. Browsers give pages the clipboard only on HTTPS and on this machine; elsewhere the old command does it.
import { el, say } from './dom.js';

const SHOWN_MS = 2_000;

/** @param {string} text @returns {Promise<boolean>} whether it is in the clipboard */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByCommand(text);
  }
}

/** @param {string} text */
function copyByCommand(text) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const area = el('textarea', { className: 'hidden', value: text, 'aria-hidden': 'true' });
  (focused?.closest('dialog') ?? document.body).append(area); // an open dialog makes all else inert
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return isCopied;
}

/**
 * A small button that copies and says for a moment that it did.
 * @param {() => string} read
 * @param {string} what for screen readers, such as "the code"
 */
export function copyButton(read, what) {
  const word = el('span', {}, 'Copy');
  const onclick = async () => {
    say(word, (await copyText(read())) ? 'Copied' : 'Not copied');
    setTimeout(() => say(word, 'Copy'), SHOWN_MS);
  };
  return el(
    'button',
    { type: 'button', className: 'quiet small', onclick },
    word,
    el('span', { className: 'hidden' }, ` ${what}`),
  );
}
