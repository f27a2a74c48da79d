// Renders Markdown. marked parses the text and this file creates the elements, so a model's text never becomes markup: HTML
// is shown as text, links lead only to the web or to mail, and images become links.
import { lexer, type MarkedToken, type Token, type Tokens } from 'marked';
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import { CopyButton } from '../components/copy-button.tsx';
import { onDemand } from '../components/on-demand.tsx';
import { Table } from '../components/parts.tsx';

const SAFE_LINK = /^(https?:\/\/|mailto:)/i;

/** A growing text. Finished blocks are not rendered again, so they keep the user's selection. */
export function Markdown({ text }: { readonly text: string }) {
  const blocks = useMemo(() => blocksOf(text), [text]);
  return blocks.map((token, i) => <Block key={i} token={token} />);
}

function Block({ token }: { readonly token: Token }) {
  return useMemo(() => toElement(token), [token.raw]);
}

/** Splits a text into blocks. Text that is nested too deeply for marked is one plain block. */
function blocksOf(text: string): Token[] {
  try {
    return lexer(text, { gfm: true, breaks: true }).filter(({ type }) => type !== 'space');
  } catch {
    return [{ type: 'unreadable', raw: text }];
  }
}

type Renderers = {
  readonly [T in MarkedToken as T['type']]?: (token: T) => ComponentChildren;
};

const RENDERERS: Renderers = {
  paragraph: ({ tokens }) => <p>{toElements(tokens)}</p>,
  // An answer is below a heading of level 3. Models skip levels, so all headings get the same one.
  heading: ({ tokens }) => <h4>{toElements(tokens)}</h4>,
  blockquote: ({ tokens }) => <blockquote>{toElements(tokens)}</blockquote>,
  list: ({ ordered, start, items }) =>
    ordered ? <ol start={Number(start)}>{toElements(items)}</ol> : <ul>{toElements(items)}</ul>,
  list_item: ({ tokens }) => <li>{toElements(tokens)}</li>,
  checkbox: ({ checked }) => (checked ? '☑ ' : '☐ '),
  table: ({ header, rows }) => (
    <Table
      isMatrix
      caption="Table"
      columns={header.map(({ tokens }) => <>{toElements(tokens)}</>)}
      rows={rows.map((cells) => cells.map(({ tokens }) => toElements(tokens)))}
    />
  ),
  code: (token) => <Code {...token} />,
  hr: () => <hr />,
  br: () => <br />,
  strong: ({ tokens }) => <strong>{toElements(tokens)}</strong>,
  em: ({ tokens }) => <em>{toElements(tokens)}</em>,
  del: ({ tokens }) => <del>{toElements(tokens)}</del>,
  codespan: ({ text }) => <code>{text}</code>,
  escape: ({ text }) => text,
  link: ({ href, tokens }) => <Link href={href}>{toElements(tokens)}</Link>,
  image: ({ href, text }) => <Link href={href}>{text || href}</Link>,
  text: (token) =>
    'tokens' in token && token.tokens ? toElements(token.tokens) : decoded(token.text),
};

function toElement(token: Token): ComponentChildren {
  const render = RENDERERS[token.type as MarkedToken['type']] as
    | ((token: Token) => ComponentChildren)
    | undefined;
  return render ? render(token) : <p>{token.raw}</p>;
}

function toElements(tokens: readonly Token[]): ComponentChildren[] {
  // Inline HTML stays text.
  return tokens.map((token) => (token.type === 'html' ? token.raw : toElement(token)));
}

const useHighlight = onDemand(async () => (await import('./highlight.tsx')).highlight);

function Code({ text, lang }: Tokens.Code) {
  const toParts = useHighlight();
  const parts = useMemo(
    () => (toParts && lang ? toParts(text, lang.toLowerCase()) : text),
    [toParts, text, lang],
  );
  return (
    <figure class="code">
      <figcaption>
        <span>{lang || 'code'}</span>
        <CopyButton read={() => text} what="the code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <pre tabIndex={0}>
        <code>{parts}</code>
      </pre>
    </figure>
  );
}

function Link({ href, children }: { readonly href: string; readonly children: ComponentChildren }) {
  if (!SAFE_LINK.test(href)) return children;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0',
};

/** Decodes the entities that models use; others stay as they are. */
function decoded(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const point = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}
