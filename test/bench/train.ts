// `npm run bench:train`: lorikeet's trainer against torch + peft on this machine, taking turns, medians over the rounds.
// Environment: LORIKEET_PYTHON (a Python that has torch, transformers and peft), LORIKEET_HOME (where the bases lie; they
// are imported there if absent). What is missing is skipped and said.
// Arguments: --method lora|qlora  --compute float32|int8  --rounds N  --steps N  --json FILE
//   --model DIR (a base that was imported with --quantization none)  --rows N  --length N (of a step)
//   --only TEXT,… (cases whose title contains one of these)

import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { importModel } from '../../src/import/import-model.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { sharedPath } from '../shared.ts';
import { atLeast, atMost, type Figure, type Target, toFigure, toMarkdown } from './report.ts';
import {
  measureLorikeet,
  measurePeft,
  type PeftOptions,
  type TrainCase,
  type TrainResult,
} from './trainers.ts';

const MODEL = 'smollm2-135m-instruct-q4';
/** Where only answers count, peft computes the logits of all positions. */
const CHATS = ['wordnet', 'moods/zen'];
const CHAT_TARGET: Target = atLeast(1.3, 'ratio');
/** Where all tokens count: of speed and of memory, with recomputation and without. */
const TARGETS = {
  float32: {
    recomputed: { speed: 1.1, memory: 0.45 },
    kept: { speed: 0.95, memory: 0.6 },
  },
  int8: {
    recomputed: { speed: 1.8, memory: 0.45 },
    kept: { speed: 1.5, memory: 0.6 },
  },
} as const;

const options = readOptions({
  method: 'lora',
  compute: 'float32',
  model: undefined,
  rows: 8,
  length: 160,
  only: '',
  rounds: 3,
  steps: 3,
  json: undefined,
});
const method = options.method === 'qlora' ? 'qlora' : 'lora';
const compute = options.compute === 'int8' ? 'int8' : 'float32';
const { rows, length, steps } = options;
const { LORIKEET_PYTHON: python } = process.env;
// Lorikeet refuses settings that it does not know.
delete process.env['LORIKEET_PYTHON'];

interface Case {
  readonly title: string;
  readonly load: TrainCase;
  readonly speed: Target;
  readonly memory?: Target;
}

interface Results {
  readonly ours: TrainResult[];
  readonly peft: TrainResult[];
}

const scratch = scratchFolder();
await main();

async function main(): Promise<void> {
  const baseDir = await importBase('none');
  const modelDir = method === 'lora' ? baseDir : await importBase('nf4');
  const peft = findPeft(baseDir);
  const measured = listCases().map((one) => ({ ...one, ours: [], peft: [] }) as Case & Results);
  for (let round = 0; round < options.rounds; round++) {
    for (const { title, load, ours, peft: theirs } of measured) {
      ours.push(await note(`ours, ${title}`, measureLorikeet(modelDir, load, scratch)));
      if (peft) theirs.push(await note(`peft, ${title}`, measurePeft(peft, load)));
    }
  }
  const figures = measured.flatMap(figuresOf);
  process.stdout.write(`${toMarkdown(figures)}\n`);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
}

async function importBase(quantization: 'none' | 'nf4'): Promise<string> {
  const { model } = options;
  if (model !== undefined) {
    if (quantization === 'none') return model;
    const dir = path.join(scratch, 'nf4');
    await importModel(model, dir, { quantization, doubleQuantization: true });
    return dir;
  }
  const name = quantization === 'none' ? `${MODEL}-unquantized` : MODEL;
  const dir = path.join(loadConfig().home, 'models', name);
  if (existsSync(dir)) return dir;
  say(`importing ${name}`);
  await importModel(MODEL, dir, { quantization, doubleQuantization: true });
  return dir;
}

function findPeft(baseDir: string): PeftOptions | undefined {
  const script = sharedPath('bench', 'baseline_peft.py');
  if (python && script) return { python, script, baseDir };
  const missing = python ? 'baseline_peft.py is absent (LORIKEET_SHARED)' : 'no LORIKEET_PYTHON';
  say(`skipped: peft (${missing})`);
  return undefined;
}

function listCases(): Case[] {
  const targets = TARGETS[compute];
  const ways = [
    { recompute: true, words: 'recomputed', limits: targets.recomputed },
    { recompute: false, words: 'kept', limits: targets.kept },
  ];
  const whole = ways.map(({ recompute, words, limits }) => ({
    title: `all tokens, activations ${words}`,
    load: { method, compute, recompute, rows, length, steps } as const,
    speed: atLeast(limits.speed, 'ratio'),
    memory: atMost(limits.memory, 'ratio'),
  }));
  const chats = CHATS.flatMap((folder) => {
    const chat = sharedPath('data', folder, 'train.jsonl');
    if (!chat) say(`skipped: data/${folder} is absent (LORIKEET_SHARED)`);
    if (!chat) return [];
    return ways.map(({ recompute, words }) => ({
      title: `answers of ${folder}, activations ${words}`,
      load: { method, compute, recompute, rows, length, chat, steps } as const,
      speed: CHAT_TARGET,
    }));
  });
  const chosen = options.only.split(',');
  return [...whole, ...chats].filter(({ title }) => chosen.some((text) => title.includes(text)));
}

async function note(title: string, measuring: Promise<TrainResult>): Promise<TrainResult> {
  const result = await measuring;
  say(`${title}: ${result.tokensPerS.toFixed(0)} tok/s, ${result.peakMb.toFixed(0)} MiB`);
  return result;
}

function figuresOf({ title, speed, memory, ours, peft }: Case & Results): Figure[] {
  const speeds = (results: TrainResult[]) => results.map(({ tokensPerS }) => tokensPerS);
  const peaks = (results: TrainResult[]) => results.map(({ peakMb }) => peakMb);
  return [
    toFigure(title, 'tok/s', speeds(ours), { other: speeds(peft), target: speed }),
    toFigure(`${title}: peak memory`, 'MiB', peaks(ours), { other: peaks(peft), target: memory }),
  ];
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
