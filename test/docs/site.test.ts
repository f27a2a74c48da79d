// The site that `npm run docs` makes: all pages, links that lead somewhere, an order, and an index for the search.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { listEntries } from '../../scripts/site/navigation.ts';
import { writeSite } from '../../scripts/site.ts';
import { temporaryFolder } from '../fixtures.ts';

const folder = path.join(temporaryFolder(), 'site');
let pages: string[] = [];
const read = (name: string) => readFileSync(path.join(folder, name), 'utf8');
before(() => {
  pages = writeSite('.', folder);
});

test('every page is in the site', () => {
  assert.ok(pages.length > 100, `${pages.length}`);
  for (const name of ['README', 'SECURITY', 'docs/tutorial', 'docs/recipes/tool-calls']) {
    assert.ok(pages.includes(`${name}.html`), name);
  }
});

test('every link of the site leads to a file, and its anchor to a heading', () => {
  let count = 0;
  for (const page of pages) {
    for (const [, href = ''] of read(page).matchAll(/(?:href|src)="([^"]+)"/g)) {
      if (/^[a-z]+:/.test(href)) continue;
      const [target = '', anchor] = href.split('#');
      const file = target === '' ? page : path.join(path.dirname(page), target);
      assert.ok(existsSync(path.join(folder, file)), `${page}: ${href}`);
      count++;
      if (!anchor || !file.endsWith('.html')) continue;
      assert.ok(read(file).includes(`id="${anchor}"`), `${page}: ${href}`);
    }
  }
  assert.ok(count > 5000, `${count}`);
});

test('next leads through all pages of the index, and previous back', () => {
  const files = listEntries('.').map(({ file }) => file.replace(/\.md$/, '.html'));
  assert.ok(files.length > 60, `${files.length}`);
  const step = (page: string, rel: string) => {
    const href = new RegExp(`rel="${rel}" href="([^"]+)"`).exec(read(page))?.[1];
    return href && path.join(path.dirname(page), href);
  };
  for (const [i, file] of files.entries()) {
    assert.equal(step(file, 'next'), files[i + 1], file);
    assert.equal(step(file, 'prev'), files[i - 1], file);
    assert.match(read(file), /aria-current="page"/, file);
  }
});

test('the search knows each section by its words, and where it is', () => {
  const source = read('search-index.js').replace(/^globalThis.searchIndex = (.*);$/s, '$1');
  const records: { url: string; heading: string; text: string; terms: string[] }[] =
    JSON.parse(source);
  const found = records.find(({ heading }) => heading === 'Limits of several servers')!;
  assert.equal(found.url, 'docs/tenants.html#limits-of-several-servers');
  assert.match(found.text, /Redis/);
  assert.doesNotMatch(found.text, /\]\(|`/);
  const fields = records.find(({ url }) => url === 'docs/request-fields.html')!;
  assert.ok(fields.terms.includes('cache_salt'));
});
