// The order of the site's pages: the tables of docs/README.md, below its headings.
import { readFileSync } from 'node:fs';
import path from 'node:path';

const INDEX = 'docs/README.md';

/** A page in the sidebar. */
export interface NavigationEntry {
  readonly section: string;
  readonly title: string;
  /** Relative to the root. */
  readonly file: string;
}

/** Returns the pages in reading order. A page that the index names twice has its first place. */
export function listEntries(root: string): NavigationEntry[] {
  const entries: NavigationEntry[] = [];
  let section = '';
  for (const line of readFileSync(path.join(root, INDEX), 'utf8').split('\n')) {
    section = /^## (.+)$/.exec(line)?.[1] ?? /^\*\*(.+)\*\*$/.exec(line)?.[1] ?? section;
    const [, title, target] = /^\| \[([^\]]+)\]\(([^)#]+)/.exec(line) ?? [];
    if (!title || !target?.endsWith('.md')) continue;
    const file = path.normalize(path.join(path.dirname(INDEX), target));
    if (!entries.some((entry) => entry.file === file)) entries.push({ section, title, file });
  }
  return entries;
}
