// Renders a Markdown page for the site: headings with the anchors of a git host, and links to the site's files.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Marked, Renderer, type Token, type Tokens } from 'marked';

/** A heading, and the text below it. */
interface Section {
  readonly heading: string;
  /** 1 is the page's title. */
  readonly depth: number;
  readonly text: string;
  /** Fields, settings and the like, which its tables explain: code in their first columns. */
  readonly terms: readonly string[];
}

/** A page as HTML, and what the rest of the site needs of it. */
export interface RenderedPage {
  readonly title: string;
  readonly html: string;
  /** Its text below each heading, for the search. */
  readonly sections: readonly Section[];
  /** Linked files of the repository that are not pages, relative to the root. */
  readonly files: readonly string[];
}

/** Returns the anchor of a heading, as git hosts make it. */
export function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

/** Renders a page. @param isPage the files that become pages of the site @throws Error if a relative link is dead */
export function renderPage(root: string, file: string, isPage: ReadonlySet<string>): RenderedPage {
  const source = readFileSync(path.join(root, file), 'utf8').replace(/^---\n[\s\S]*?\n---\n/, '');
  const files: string[] = [];
  const resolve = (href: string) => {
    if (/^(?:[a-z]+:|#)/.test(href)) return href;
    const [target = '', anchor] = href.split('#');
    const place = path.normalize(path.join(path.dirname(file), target));
    if (!existsSync(path.join(root, place))) throw new Error(`${file}: ${href} does not exist`);
    const suffix = anchor === undefined ? '' : `#${anchor}`;
    if (isPage.has(place)) return `${target.replace(/\.md$/, '.html')}${suffix}`;
    files.push(place);
    return `${target}${suffix}`;
  };
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text }) {
        const id = anchorOf(plain(text));
        return `<h${depth} id="${id}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
      // A wide table scrolls inside a box. A table that is a block itself is no table to a screen reader.
      table(token) {
        return `<div class="scroll">${Renderer.prototype.table.call(this, token)}</div>`;
      },
    },
    walkTokens(token) {
      if (token.type === 'link' || token.type === 'image') token.href = resolve(token.href);
    },
  });
  const tokens = marked.lexer(source);
  const sections = sectionsOf(tokens);
  return {
    title: sections[0]?.heading ?? file,
    html: marked.parse(source) as string,
    sections,
    files,
  };
}

function sectionsOf(tokens: readonly Token[]): Section[] {
  const sections: { heading: string; depth: number; text: string; terms: string[] }[] = [];
  for (const token of tokens) {
    if (token.type === 'heading') {
      const { text, depth } = token as Tokens.Heading;
      sections.push({ heading: plain(text), depth, text: '', terms: [] });
    } else if (token.type !== 'html') {
      const last = sections.at(-1);
      if (last) last.text += ` ${plain(token.raw)}`;
      if (last && token.type === 'table') last.terms.push(...termsOf(token as Tokens.Table));
    }
  }
  return sections;
}

function termsOf({ rows }: Tokens.Table): string[] {
  return rows.flatMap(([cell]) =>
    [...(cell?.text ?? '').matchAll(/`([^`]+)`/g)].map(([, code = '']) => code.toLowerCase()),
  );
}

/** Removes the marks of Markdown from a text. */
function plain(text: string): string {
  return text
    .replaceAll(/\]\([^)]*\)/g, '')
    .replaceAll(/[`*|[\]]|:?-{3,}:?/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
