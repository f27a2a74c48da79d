// Markdown as elements. marked reads the text; the elements are made here one by one, so no text of a model ever becomes
// markup: HTML in it is shown as it is written, links lead to the web or to mail only, and images are links.
import { copyButton } from './clipboard.js';
import { el } from './dom.js';
import { lexer } from './marked.js';

/** @typedef {any} Token a token of marked; each type has fields of its own */

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;
/** Answers stand below headings of level 3. */
const HEADINGS = /** @type {const} */ (['h4', 'h5', 'h6']);

/** Shows a text that grows: blocks that are complete stay the same elements, and so does a selection in them. */
export class MarkdownView {
  #place;
  /** @type {{ raw: string, node: Node }[]} */
  #blocks = [];

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place;
  }

  /** @param {string} text */
  show(text) {
    const tokens = blocksOf(text);
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same++;
    for (const { node } of this.#blocks.splice(same)) this.#place.removeChild(node);
    for (const token of tokens.slice(same)) {
      const node = this.#place.appendChild(toNode(token));
      this.#blocks.push({ raw: token.raw, node });
    }
  }
}

/** Text that marked cannot read (nested too deeply) is one block as it is. @param {string} text @returns {Token[]} */
function blocksOf(text) {
  try {
    return lexer(text, { gfm: true, breaks: true }).filter(({ type }) => type !== 'space');
  } catch {
    return [{ type: 'unreadable', raw: text }];
  }
}

/** @type {Readonly<Record<string, (token: Token) => Node>>} */
const RENDERERS = {
  paragraph: ({ tokens }) => el('p', {}, ...toNodes(tokens)),
  heading: ({ depth, tokens }) =>
    el(HEADINGS[Math.min(depth, HEADINGS.length) - 1] ?? 'h6', {}, ...toNodes(tokens)),
  blockquote: ({ tokens }) => el('blockquote', {}, ...toNodes(tokens)),
  list: ({ ordered, start, items }) =>
    ordered
      ? el('ol', { start: Number(start) }, ...toNodes(items))
      : el('ul', {}, ...toNodes(items)),
  list_item: ({ tokens }) => el('li', {}, ...toNodes(tokens)),
  checkbox: ({ checked }) => textNode(checked ? '☑ ' : '☐ '),
  table: toTable,
  code: toCode,
  hr: () => el('hr'),
  br: () => el('br'),
  strong: ({ tokens }) => el('strong', {}, ...toNodes(tokens)),
  em: ({ tokens }) => el('em', {}, ...toNodes(tokens)),
  del: ({ tokens }) => el('del', {}, ...toNodes(tokens)),
  codespan: ({ text }) => el('code', {}, text),
  escape: ({ text }) => textNode(text),
  link: ({ href, tokens }) => toLink(href, toNodes(tokens)),
  image: ({ href, text }) => toLink(href, [textNode(text || href)]),
  text: ({ text, tokens }) => (tokens ? fragment(toNodes(tokens)) : textNode(decoded(text))),
};

/** @param {Token} token @returns {Node} */
function toNode(token) {
  return (RENDERERS[token.type] ?? (({ raw }) => el('p', {}, raw)))(token);
}

/** @param {readonly Token[]} tokens */
function toNodes(tokens) {
  // Tags within a line are text of that line.
  return tokens.map((token) => (token.type === 'html' ? textNode(token.raw) : toNode(token)));
}

/** @param {Token} token */
function toCode({ text, lang }) {
  const code = el('code', {}, text);
  return el(
    'figure',
    { className: 'code' },
    el(
      'figcaption',
      {},
      el('span', {}, lang || 'code'),
      copyButton(() => text, 'the code'),
    ),
    el('pre', { tabIndex: 0 }, code), // it scrolls
  );
}

/** @param {Token} token */
function toTable({ header, rows }) {
  const head = header.map((/** @type {Token} */ { tokens }) =>
    el('th', { scope: 'col' }, ...toNodes(tokens)),
  );
  const body = rows.map((/** @type {Token[]} */ cells) =>
    el('tr', {}, ...cells.map(({ tokens }) => el('td', {}, ...toNodes(tokens)))),
  );
  const table = el('table', {}, el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...body));
  return el('div', { className: 'wide-table', tabIndex: 0 }, table);
}

/** @param {string} href @param {readonly Node[]} children */
function toLink(href, children) {
  if (!SAFE_LINK.test(href)) return fragment(children);
  return el('a', { href, target: '_blank', rel: 'noopener noreferrer' }, ...children);
}

/** @type {Readonly<Record<string, string>>} */
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

/** Decodes the entities that models write; others stay as they are. @param {string} text */
function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const point = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}

/** @param {string} text */
function textNode(text) {
  return document.createTextNode(text);
}

/** @param {readonly Node[]} nodes */
function fragment(nodes) {
  const made = document.createDocumentFragment();
  made.append(...nodes);
  return made;
}
