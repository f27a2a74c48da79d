// `npm run docs`: makes a site of the Markdown pages, in the folder `site` or the one that is given. The pages stay as a git host shows
// them; the site adds a sidebar, next and previous, a search without a server, and a dark mode. The sidebar is docs/README.md.
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { listEntries, type NavigationEntry } from './site/navigation.ts';
import { anchorOf, type RenderedPage, renderPage } from './site/render.ts';

const ASSETS = path.join(import.meta.dirname, 'site');
const ICON = path.join(import.meta.dirname, '../src/pages/icon.svg');
const HOME = 'README.md';

/** A page of the site, as the search knows it. */
interface SearchRecord {
  readonly url: string;
  readonly page: string;
  readonly heading: string;
  readonly text: string;
  readonly terms: readonly string[];
}

/** Writes the site of a repository into a folder, which it replaces. Returns the written pages. @throws Error if a link is dead */
export function writeSite(root: string, outDir: string): string[] {
  rmSync(outDir, { recursive: true, force: true });
  const entries = listEntries(root);
  const files = listPages(root, entries);
  const isPage = new Set(files);
  const records: SearchRecord[] = [];
  const linked = new Set<string>();
  for (const file of files) {
    const page = renderPage(root, file, isPage);
    for (const target of page.files) linked.add(target);
    const url = urlOf(file);
    for (const { heading, text, terms } of page.sections) {
      const anchor = heading === page.title ? '' : `#${anchorOf(heading)}`;
      records.push({ url: `${url}${anchor}`, page: page.title, heading, text, terms });
    }
    write(path.join(outDir, url), layout(page, file, entries));
  }
  for (const target of linked) copyLinked(root, target, outDir);
  // A script and not JSON: a page on a disk may load scripts only.
  write(
    path.join(outDir, 'search-index.js'),
    `globalThis.searchIndex = ${JSON.stringify(records)};`,
  );
  for (const name of ['site.css', 'site.js']) {
    copyFileSync(path.join(ASSETS, name), path.join(outDir, name));
  }
  copyFileSync(ICON, path.join(outDir, 'icon.svg'));
  write(path.join(outDir, 'index.html'), redirect(urlOf(HOME)));
  return files.map(urlOf);
}

/** The Markdown files, relative to the root: the sidebar's first. Results of the search have this order. */
function listPages(root: string, entries: readonly NavigationEntry[]): string[] {
  const below = (folder: string) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
      .map((name) => path.join(folder, name));
  const top = readdirSync(root).filter((name) => name.endsWith('.md'));
  const rest = [...top, ...['docs', 'examples', 'models'].flatMap(below)].sort();
  return [...new Set([...entries.map(({ file }) => file), ...rest])];
}

function urlOf(file: string): string {
  return file.replace(/\.md$/, '.html');
}

/** Copies a file or a folder that a page links to. A folder gets a list of its files. */
function copyLinked(root: string, target: string, outDir: string): void {
  const from = path.join(root, target);
  const to = path.join(outDir, target);
  if (!statSync(from).isDirectory()) {
    mkdirSync(path.dirname(to), { recursive: true });
    copyFileSync(from, to);
    return;
  }
  cpSync(from, to, {
    recursive: true,
    dereference: true,
    filter: (name) => !name.includes('node_modules'),
  });
  const names = readdirSync(from, { recursive: true, encoding: 'utf8' }).filter(
    (name) => !name.includes('node_modules') && statSync(path.join(from, name)).isFile(),
  );
  const items = names.sort().map((name) => `<li><a href="${toHtml(name)}">${toHtml(name)}</a>`);
  const title = toHtml(target);
  write(
    path.join(to, 'index.html'),
    `<!doctype html><title>${title}</title><ul>${items.join('')}</ul>`,
  );
}

function layout(page: RenderedPage, file: string, entries: readonly NavigationEntry[]): string {
  const base = path.relative(path.dirname(file), '.') || '.';
  const link = (target: string) => `${base}/${urlOf(target)}`;
  const at = entries.findIndex((entry) => entry.file === file);
  const step = (entry: NavigationEntry | undefined, rel: string) =>
    entry ? `<a rel="${rel}" href="${link(entry.file)}">${toHtml(entry.title)}</a>` : '';
  const steps =
    at < 0
      ? ''
      : `<nav class="steps" aria-label="Previous and next page">${step(entries[at - 1], 'prev')}${step(entries[at + 1], 'next')}</nav>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${toHtml(page.title)} · lorikeet</title>
<link rel="icon" href="${base}/icon.svg">
<link rel="stylesheet" href="${base}/site.css">
<script src="${base}/site.js" defer data-base="${base}"></script>
<header>
<a class="name" href="${link(HOME)}">lorikeet</a>
<search>
<input type="search" placeholder="Search ( / )" aria-label="Search the documentation">
<div class="results" aria-live="polite" hidden></div>
</search>
</header>
<div class="columns">
<nav class="sidebar" aria-label="Pages"><details open><summary>Pages</summary>${sidebar(entries, file, link)}</details></nav>
<main>${page.html}${steps}</main>
${contents(page)}
</div>
</html>
`;
}

function sidebar(
  entries: readonly NavigationEntry[],
  current: string,
  link: (file: string) => string,
): string {
  let section = '';
  const parts = entries.map((entry) => {
    const heading = entry.section === section ? '' : `<p>${toHtml(entry.section)}</p>`;
    section = entry.section;
    const mark = entry.file === current ? ' aria-current="page"' : '';
    return `${heading}<a href="${link(entry.file)}"${mark}>${toHtml(entry.title)}</a>`;
  });
  return parts.join('');
}

/** The list of a page's sections. A page with fewer than three needs none. */
function contents({ sections }: RenderedPage): string {
  const parts = sections.filter(({ depth }) => depth === 2);
  if (parts.length < 3) return '';
  const links = parts.map(
    ({ heading }) => `<a href="#${anchorOf(heading)}">${toHtml(heading)}</a>`,
  );
  return `<nav class="contents" aria-label="On this page"><p>On this page</p>${links.join('')}</nav>`;
}

function redirect(url: string): string {
  return `<!doctype html><title>lorikeet</title><meta http-equiv="refresh" content="0; url=${url}"><a href="${url}">lorikeet</a>`;
}

function toHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

function write(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outDir = path.resolve(process.argv[2] ?? 'site');
  const pages = writeSite('.', outDir);
  process.stdout.write(
    `${pages.length} pages in ${outDir}. Open ${path.join(outDir, 'README.html')}\n`,
  );
}
