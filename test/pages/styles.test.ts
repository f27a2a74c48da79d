// The pages' style sheets and their components agree about classes, and each class has one meaning.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { readSources } from '../architecture/source.ts';
import { styledClasses, usedClasses } from './class-names.ts';

const COMMON = 'src/pages/style.css';
const sheets = readSources(['src/pages'], /\.css$/);
const components = readSources(['src/pages'], /\.(tsx|html)$/);
const used = usedClasses(components.map(({ text }) => text).join('\n'));

/** The classes that a sheet styles wherever they are. */
function classesOf(css: string): string[] {
  const plain = css.replace(/\/\*.*?\*\//gs, '');
  const selectors = [...plain.matchAll(/([^{}]+)\{/g)].flatMap(([, list]) =>
    list!.replace(/\([^()]*\)/g, '').split(','),
  );
  return selectors.flatMap((selector) => /^\s*\.([\w-]+)\s*$/.exec(selector)?.[1] ?? []);
}

test("no page's style sheet defines a class of the common one again", () => {
  const common = new Set(classesOf(sheets.find(({ path }) => path === COMMON)!.text));
  const others = sheets.filter(({ path }) => path !== COMMON);
  assert.ok(common.size > 20 && others.length > 4);
  for (const { path, text } of others) {
    const again = classesOf(text).filter((name) => common.has(name));
    assert.deepEqual(again, [], path);
  }
});

test('a rule exists for each class of an element', () => {
  const styled = new Set(sheets.flatMap(({ text }) => styledClasses(text)));
  const without = used.names.filter((name) => !styled.has(name));
  assert.deepEqual([...new Set(without)], []);
});

test('an element exists for each class of a rule', () => {
  const chart = createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css');
  // Names that are computed are values in the code, or states of the API.
  const code = readSources(['src/pages', 'src/contracts'], /\.tsx?$/).map(({ text }) => text);
  const values = code.join('\n').matchAll(/'([^'\n]*)'|"([^"\n]*)"/g);
  const methods = ['get', 'post', 'put', 'delete'];
  const known = new Set([
    ...used.names,
    ...styledClasses(readFileSync(chart, 'utf8')),
    ...[...values].flatMap(([, single, double]) => (single ?? double ?? '').split(' ')),
    ...methods,
  ]);
  const isUsed = (name: string) =>
    known.has(name) || used.beginnings.some((beginning) => name.startsWith(beginning));
  for (const { path, text } of sheets) {
    assert.deepEqual(
      styledClasses(text).filter((name) => !isUsed(name)),
      [],
      path,
    );
  }
});

test('the scan of classes finds names, choices and beginnings', () => {
  const text = `<p class="a b"><i class={x === 'no' ? 'c' : \`d e-\${n}\${ok ? ' f' : ''}\`} class='g' />`;
  assert.deepEqual([...usedClasses(text).names].sort(), ['a', 'b', 'c', 'd', 'f', 'g']);
  assert.deepEqual(usedClasses(text).beginnings, ['e-']);
  const css =
    '/* .x */ .a:is(.b, #c) > p::after { content: ".d"; } @media (m) { .e { margin: .5em; } }';
  assert.deepEqual(styledClasses(css), ['a', 'b', 'e']);
});
