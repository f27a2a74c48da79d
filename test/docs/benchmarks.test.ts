// Speeds are on docs/benchmarks.md only. README repeats a few of them, and each is computed here from the page's tables.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const PAGE = 'docs/benchmarks.md';
const page = readFileSync(PAGE, 'utf8');
const MIXED = '32 streams, 4 adapters, tok/s';
const FIRST_TOKEN = '32 streams, 4 adapters: first token, p50, ms';

/** Returns a cell of the tables below a heading. Rows and columns are named by their first cells. */
function cell(heading: string, row: string, column: string): string {
  const [, section = ''] = new RegExp(
    `^## ${heading}$([\\s\\S]*?)(?=^## |$(?![\\s\\S]))`,
    'm',
  ).exec(page)!;
  for (const table of section.matchAll(/^\|.*\|\n\| *-[^\n]*\n(?:\|.*\|\n)+/gm)) {
    const [head = [], , ...rows] = table[0]
      .trim()
      .split('\n')
      .map((line) => line.split('|').map((text) => text.trim()));
    const found = rows.find(([, name]) => name === row);
    const at = head.indexOf(column);
    if (found && at > 0) return found[at]!;
  }
  throw new Error(`${PAGE}: no cell "${row}" of "${column}" below "${heading}"`);
}

const peer = (row: string, column: string) => Number(cell('Next to other servers', row, column));
const timesAs = (column: string) => peer(MIXED, 'lorikeet') / peer(MIXED, column);
const trained = (column: string) =>
  Number.parseFloat(cell('Training', 'loss on all tokens, recomputed', column));
/** The speeds relative to peft in the table of float32. */
const RATIOS = /^\| float32 \|.*\n.*\n((?:\|.*\n)+)/m
  .exec(page)![1]!
  .trim()
  .split('\n')
  .map((line) => Number.parseFloat(line.split('|')[2]!));
const SHOWN = ['lorikeet', 'vLLM with LoRA', 'mistral.rs', 'llama-server'];
const WORDS = 'zero one two three four five six seven eight nine ten'.split(' ');
const word = (value: number) => WORDS[Math.round(value)]!;
/** The speed of 1.5B relative to llama-server's, in the last column of its table. */
const larger = (row: string) => new RegExp(`^\\| ${row} \\|.* ([\\d.]+)x \\|$`, 'm').exec(page)![1];
const seconds = (column: string) => peer(FIRST_TOKEN, column) / 1000;

/** Each figure of README, as the page's tables give it. */
const CLAIMS: Readonly<Record<string, string>> = {
  'vLLM in words': `${word(timesAs('vLLM with LoRA'))} times as many tokens as vLLM with LoRA`,
  'llama-server in words': `${word(timesAs('llama-server'))} times as many as llama-server`,
  'mistral.rs in words': `${word(timesAs('mistral.rs'))} times as many as llama-server (in Q4_1) and mistral.rs`,
  'first token in words': `after ${seconds('lorikeet').toFixed(1)} s instead of ${seconds('vLLM with LoRA').toFixed(0)} or ${seconds('llama-server').toFixed(0)}`,
  'tokens per second': `| tokens per second | ${SHOWN.map((name) => peer(MIXED, name)).join(' | ')} |`,
  'first token': `| first token, p50, s | ${seconds('lorikeet').toFixed(2)} | ${seconds('vLLM with LoRA').toFixed(1)} | - | ${seconds('llama-server').toFixed(1)} |`,
  'one stream': `One stream generates ${peer('1 stream, tok/s', 'lorikeet')} tokens per second.`,
  'a larger base': `lorikeet in int8 generates ${larger('8 streams, int8, tok/s')} times as many tokens as llama-server with the same GGUF file for 8 streams, and ${larger('32 streams, 4 adapters, int8, tok/s')} times as many for 32 streams over four adapters`,
  start: `ready ${/^Ready ([\d.]+) s after/m.exec(page)![1]} s after the start`,
  training: `${trained('speed')}x the speed of torch + peft in ${trained('peak memory')}x its memory`,
  'training in words': `LoRA runs ${Math.min(...RATIOS).toFixed(1)} to ${Math.max(...RATIOS).toFixed(1)} times as fast as with peft`,
};

const readme = readFileSync('README.md', 'utf8').replaceAll(/\s+/g, ' ');

for (const [name, text] of Object.entries(CLAIMS)) {
  test(`README repeats the figure of the benchmarks: ${name}`, () => {
    assert.ok(readme.includes(text), text);
  });
}

test('README has no speed that the benchmarks do not give', () => {
  const rest = Object.values(CLAIMS).reduce((text, claim) => text.replaceAll(claim, ''), readme);
  assert.deepEqual(rest.match(SPEED) ?? [], []);
});

/** A speed, or a ratio of speeds. */
const SPEED =
  /\d[\d.,]*(?: to [\d.]+)? times as\b|\b\d+(?:\.\d+)?x\b|\d[\d.,]* (?:tok\/s|tokens per second)/g;
/** Pages whose numbers are no speeds of the program: the page itself, recorded runs, and what a model of costs assumes. */
const WITH_OTHER_NUMBERS = new Set(['benchmarks.md', 'preferences-and-rewards.md', 'sizing.md']);

test('other pages copy no speed', () => {
  const pages = readdirSync('docs').filter(
    (name) => name.endsWith('.md') && !WITH_OTHER_NUMBERS.has(name),
  );
  const copies = pages.flatMap((name) =>
    (readFileSync(path.join('docs', name), 'utf8').match(SPEED) ?? []).map(
      (text) => `${name}: ${text}`,
    ),
  );
  assert.deepEqual(copies, []);
});
