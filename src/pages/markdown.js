// Renders Markdown. marked parses the text and this file creates the elements, so a model's text never becomes markup: HTML
// is shown as text, links lead only to the web or to mail, and images become links.
import { el } from './dom.js';
import { lexer } from './marked.js';
import { copyButton } from './widgets.js';

/** A token of marked. Each type has its own fields. @typedef {any} Token */

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;

/** Renders a growing text. Finished blocks keep their elements, and with them the user's selection. */
export class MarkdownView {
  #parent;
  /** @type {{ raw: string, node: Node }[]} */
  #blocks = [];

  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.#parent = parent;
  }

  /** Shows a text that starts like the one before. @param {string} text */
  show(text) {
    const tokens = blocksOf(text);
    let same = 0;
    while (same < tokens.length && this.#blocks[same]?.raw === tokens[same].raw) same++;
    for (const { node } of this.#blocks.splice(same)) this.#parent.removeChild(node);
    for (const token of tokens.slice(same)) {
      const node = this.#parent.appendChild(toNode(token));
      this.#blocks.push({ raw: token.raw, node });
    }
  }
}

/** Splits a text into blocks. Text that is nested too deeply for marked is one plain block. @param {string} text @returns {Token[]} */
function blocksOf(text) {
  try {
    return lexer(text, { gfm: true, breaks: true }).filter(({ type }) => type !== 'space');
  } catch {
    return [{ type: 'unreadable', raw: text }];
  }
}

/** @type {Readonly<Record<string, (token: Token) => Node>>} */
const RENDERERS = {
  paragraph: ({ tokens }) => el('p', ...toNodes(tokens)),
  // An answer is below a heading of level 3. Models skip levels, so all headings get the same one.
  heading: ({ tokens }) => el('h4', ...toNodes(tokens)),
  blockquote: ({ tokens }) => el('blockquote', ...toNodes(tokens)),
  list: ({ ordered, start, items }) =>
    ordered ? el('ol', { start: Number(start) }, ...toNodes(items)) : el('ul', ...toNodes(items)),
  list_item: ({ tokens }) => el('li', ...toNodes(tokens)),
  checkbox: ({ checked }) => textNode(checked ? '☑ ' : '☐ '),
  table: toTable,
  code: toCode,
  hr: () => el('hr'),
  br: () => el('br'),
  strong: ({ tokens }) => el('strong', ...toNodes(tokens)),
  em: ({ tokens }) => el('em', ...toNodes(tokens)),
  del: ({ tokens }) => el('del', ...toNodes(tokens)),
  codespan: ({ text }) => el('code', text),
  escape: ({ text }) => textNode(text),
  link: ({ href, tokens }) => toLink(href, toNodes(tokens)),
  image: ({ href, text }) => toLink(href, [textNode(text || href)]),
  text: ({ text, tokens }) => (tokens ? fragment(toNodes(tokens)) : textNode(decoded(text))),
};

/** @param {Token} token @returns {Node} */
function toNode(token) {
  return (RENDERERS[token.type] ?? (({ raw }) => el('p', raw)))(token);
}

/** @param {readonly Token[]} tokens */
function toNodes(tokens) {
  // Inline HTML stays text.
  return tokens.map((token) => (token.type === 'html' ? textNode(token.raw) : toNode(token)));
}

/** @param {Token} token */
function toCode({ text, lang }) {
  const code = el('code', text);
  return el(
    'figure.code',
    el(
      'figcaption',
      el('span', lang || 'code'),
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
    el('tr', ...cells.map(({ tokens }) => el('td', ...toNodes(tokens)))),
  );
  const table = el('table', el('thead', el('tr', ...head)), el('tbody', ...body));
  return el('div.wide-table', { tabIndex: 0 }, table);
}

/** @param {string} href @param {readonly Node[]} children */
function toLink(href, children) {
  if (!SAFE_LINK.test(href)) return fragment(children);
  return el('a', { href, target: '_blank', rel: 'noopener noreferrer' }, ...children);
}

/** @type {Readonly<Record<string, string>>} */
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

/** Decodes the entities that models use; others stay as they are. @param {string} text */
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
  const parent = document.createDocumentFragment();
  parent.append(...nodes);
  return parent;
}
