// A table from rows. Knows no data.
import { el, fill } from './dom.js';

/** @typedef {import('./dom.js').Child} Child */

/**
 * @typedef {object} Column
 * @property {Child} name
 * @property {boolean} [isNumber]
 */

/**
 * @param {HTMLElement} place
 * @param {{ caption: string, columns: readonly Column[] }} options caption: for screen readers
 * @returns {(rows: readonly (readonly Child[])[]) => void} shows these rows; the first cell of each heads it
 */
export function createTable(place, { caption, columns }) {
  const body = el('tbody');
  const heads = columns.map(({ name, isNumber }) =>
    el('th', { scope: 'col', className: isNumber ? 'number' : '' }, name),
  );
  const table = el(
    'table',
    {},
    el('caption', { className: 'hidden' }, caption),
    el('thead', {}, el('tr', {}, ...heads)),
    body,
  );
  // Wide tables scroll in their own place; it takes the focus, so that keys can scroll it.
  fill(
    place,
    el(
      'div',
      { className: 'wide-table', tabIndex: 0, role: 'group', 'aria-label': caption },
      table,
    ),
  );
  return (rows) => {
    const shown = rows.map((cells) =>
      el(
        'tr',
        {},
        ...cells.map((cell, i) => {
          const className = columns[i]?.isNumber ? 'number' : '';
          return i === 0
            ? el('th', { scope: 'row', className }, cell)
            : el('td', { className }, cell);
        }),
      ),
    );
    fill(body, ...shown);
  };
}
