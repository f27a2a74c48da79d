// Small parts that several pages use: tables, copy buttons, downloads and the confirmation dialog.
import { request } from './api.js';
import { byId, el, fill, keepFocus, setText } from './dom.js';

/** @typedef {import('./dom.js').Child} Child */
/** A column's heading. @typedef {Child | { number: string }} Column */

const FEEDBACK_MS = 2_000;

/**
 * Creates a table.
 * @param {HTMLElement} parent its children are replaced
 * @param {{ caption: string, columns: readonly Column[] }} options caption: for screen readers
 * @returns {(rows: readonly (readonly Child[])[]) => void} replaces the rows; the first cell of each is its heading
 */
export function createTable(parent, { caption, columns }) {
  const body = el('tbody');
  const numbers = columns.map((column) => isNumber(column));
  const classOf = (/** @type {number} */ i) => (numbers[i] ? 'number' : '');
  const heads = columns.map((column, i) =>
    el('th', { scope: 'col', className: classOf(i) }, isNumber(column) ? column.number : column),
  );
  const table = el('table', el('caption.hidden', caption), el('thead', el('tr', ...heads)), body);
  // Wide tables scroll. They take the focus, because only a focused element can be scrolled with keys.
  const scroller = { className: 'wide-table', tabIndex: 0, role: 'group', 'aria-label': caption };
  const area = el('div', scroller, table);
  fill(parent, area);
  return (rows) => {
    const elements = rows.map((cells) =>
      el(
        'tr',
        ...cells.map((cell, i) => {
          const className = classOf(i);
          return i === 0
            ? el('th', { scope: 'row', className }, cell)
            : el('td', { className, 'data-name': nameOfColumn(columns[i]) }, cell);
        }),
      ),
    );
    keepFocus(
      body,
      () => fill(body, ...elements),
      () => area,
    );
  };
}

/** The heading as text; undefined if it is an element. @param {Column | undefined} column */
function nameOfColumn(column) {
  const head = column !== undefined && isNumber(column) ? column.number : column;
  return typeof head === 'string' ? head : undefined;
}

/** Makes a heading of a column of numbers. @param {string} name @returns {{ number: string }} */
export function number(name) {
  return { number: name };
}

/** @param {Column} column @returns {column is { number: string }} */
function isNumber(column) {
  return typeof column === 'object' && column !== null && 'number' in column;
}

/** Creates a figure with its name, for a `dl.tiles`. @param {string} name @param {string} value @param {string | HTMLElement} below */
export function tile(name, value, below) {
  return el(
    'div',
    el('dt', name),
    el('dd', value),
    typeof below === 'string' ? el('dd.help', below) : below,
  );
}

/** Creates a link that opens a model in the playground. @param {string} selector @param {{ model: string, beside?: string }} query */
export function tryLink(selector, { model, ...query }) {
  const href = `./?${new URLSearchParams({ model, ...query })}`;
  return el(selector, { href, 'aria-label': `Try it: ${model}` }, 'Try it');
}

/**
 * Lets arrow keys move between buttons, of which one is in the tab order.
 * @param {HTMLElement} list
 * @param {readonly HTMLElement[]} buttons
 * @param {(index: number) => void} onMove called with the index next to the focused button's, which may be outside
 */
export function moveByArrows(list, buttons, onMove) {
  list.addEventListener('keydown', (event) => {
    const offset = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (offset === undefined) return;
    onMove(buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + offset);
    event.preventDefault();
  });
}

/**
 * Creates a small button whose name for screen readers says what it acts on.
 * @param {string} label
 * @param {string} target follows the label in that name
 * @param {() => void} act
 * @param {Question} [question] asked first
 */
export function actionButton(label, target, act, question) {
  const onclick = async () => {
    if (!question || (await confirmAction(question))) act();
  };
  return el('button.small', { onclick, 'aria-label': `${label}${target}` }, label);
}

/** Creates an action button for something that cannot be undone. @param {Parameters<typeof actionButton>} args */
export function dangerButton(...args) {
  const button = actionButton(...args);
  button.classList.add('danger');
  return button;
}

/**
 * Creates a labeled field for a number.
 * @param {{ id: string, label: string, min: number, max?: number, isInteger?: boolean, placeholder: string }} options
 */
export function numberField({ id, label, min, max, isInteger = false, placeholder }) {
  const kind = isInteger
    ? { step: 1, inputMode: 'numeric' }
    : { step: 'any', inputMode: 'decimal' };
  return el(
    'div.field',
    el('label', { htmlFor: id }, label),
    el('input', { id, type: 'number', min, max, ...kind, placeholder }),
  );
}

/**
 * Creates a labeled field for a choice.
 * @param {{ id: string, label: string, options: readonly (readonly [value: string, text: string])[] }} options
 */
export function choiceField({ id, label, options }) {
  return el(
    'div.field',
    el('label', { htmlFor: id }, label),
    el('select', { id }, ...options.map(([value, text]) => el('option', { value }, text))),
  );
}

/**
 * Copies a text to the clipboard. Browsers allow that only on HTTPS and localhost; elsewhere the old command is used.
 * @param {string} text
 * @returns {Promise<boolean>} whether it was copied
 */
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
  const area = el('textarea.hidden', { value: text, 'aria-hidden': 'true' });
  (focused?.closest('dialog') ?? document.body).append(area); // an open dialog makes all else inert
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return isCopied;
}

/**
 * Creates a small button that copies a text and confirms it for a moment.
 * @param {() => string} read returns the text
 * @param {string} what for screen readers, such as "the code"
 * @param {string} [text]
 */
export function copyButton(read, what, text = 'Copy') {
  const label = el('span', text);
  const onclick = () => copyAndReport(label, read(), { label: text, success: 'Copied' });
  return el('button.quiet.small', { onclick }, label, el('span.hidden', ` ${what}`));
}

/**
 * Copies a text and says so in a label for a moment.
 * @param {Element} element
 * @param {string} text
 * @param {{ label: string, success: string }} [labels]
 */
export async function copyAndReport(
  element,
  text,
  { label, success } = { label: 'Copy', success: 'Copied' },
) {
  setText(element, (await copyText(text)) ? success : 'Not copied');
  setTimeout(() => setText(element, label), FEEDBACK_MS);
}

/**
 * Downloads a file from the API. A link could not send the user's key, so the page fetches the file itself.
 * @param {string} path
 * @param {string} name the name that it is saved under
 * @throws {import('./api.js').ApiError}
 */
export async function downloadFile(path, name) {
  saveBlob(await (await request(path)).blob(), name);
}

/**
 * Saves bytes as a file on the user's machine.
 * @param {Blob} blob
 * @param {string} name
 */
export function saveBlob(blob, name) {
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

/** `no`: the button that changes nothing; default: Keep. @typedef {{ title: string, text: string, action: string, no?: string }} Question */

/**
 * Asks the user to confirm an action.
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function confirmAction({ title, text, action, no = 'Keep' }) {
  const dialog = byId('confirm-dialog', HTMLDialogElement);
  setText(byId('confirm-title'), title);
  setText(byId('confirm-text'), text);
  setText(byId('confirm-yes'), action);
  setText(byId('confirm-no'), no);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
