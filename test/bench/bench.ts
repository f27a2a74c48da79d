// `npm run bench`: this checkout against an earlier one and against llama-server on this machine, taking turns, medians over
// the rounds. What is not given is not compared.
// Arguments: --model NAME|DIR  --against DIR (another checkout, built)  --shape llama-1b (random weights, no adapters)
//   --only TEXT,… (cases whose id contains one of these)  --rounds N  --tokens N  --json FILE
// Environment: LLAMA_SERVER (its binary), LLAMA_MODEL (the base as GGUF; not needed with --shape), LLAMA_ARGS (more arguments)
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { DecoderConfig } from '../../src/model/config.ts';
import { ALL_R16, QV_R8, writeAdapters } from './adapters.ts';
import { findModel, readDecoder } from './base.ts';
import { adapterCases, type Case, largeCases, type Values } from './cases.ts';
import { type Figure, inTurn, SIDES, type Side, toFigure, toMarkdown } from './comparison.ts';
import { measureEngineRate } from './engine-rate.ts';
import { type Fleet, type FleetOptions, serverFlags, startFleet } from './fleet.ts';
import { measureFirstToken } from './measure.ts';
import { processorLine } from './processor.ts';
import { writeRandomArtifact, writeRandomGguf } from './random-base.ts';
import { startLorikeet } from './servers.ts';

const SLOTS = 32;
const MAX_SEQ = 1280;
const COLD_STARTS = 5;

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct-q4' },
    against: { type: 'string' },
    shape: { type: 'string' },
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '64' },
    json: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const tokens = Number(options.tokens);
const isLarge = options.shape !== undefined;
if (isLarge && options.shape !== 'llama-1b') throw new Error('--shape: must be llama-1b');

/** The folder that keeps the large base between runs: it takes a minute to write. */
const largeFolder = path.join(tmpdir(), 'lorikeet-bench-llama-1b');
const scratch = mkdtempSync(path.join(tmpdir(), 'lorikeet-bench-'));
try {
  await main();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const model = isLarge ? await writeLargeBase() : findModel(options.model);
  const decoder = readDecoder(model);
  const adapters = isLarge ? undefined : path.join(scratch, 'adapters');
  const cases = adapters === undefined ? largeCases() : listAdapterCases(adapters, decoder);
  const fleetOptions: FleetOptions = {
    ...{ model, decoder, adapters, slots: SLOTS, maxSeq: MAX_SEQ },
    against: options.against && path.resolve(options.against),
    llama: findLlama(),
  };
  const chosen = cases.filter(({ id }) => isChosen(id));
  const fleet = await startFleet(fleetOptions);
  let figures: Figure[];
  try {
    figures = figuresOf(chosen, await measureRounds(fleet, chosen));
  } finally {
    await fleet.stop();
  }
  if (isChosen('cold start')) figures.push(...(await measureColdStarts(fleetOptions)));
  if (isChosen('bare engine')) figures.push(await measureBareEngine(model));
  print(figures);
}

function isChosen(id: string): boolean {
  return options.only.split(',').some((part) => id.includes(part));
}

function listAdapterCases(folder: string, decoder: DecoderConfig): Case[] {
  const qv = writeAdapters(folder, decoder, { shape: QV_R8, count: SLOTS });
  const all = writeAdapters(folder, decoder, { shape: ALL_R16, count: SLOTS });
  return adapterCases(qv, all);
}

/** Case → side → the values of each round. */
type Measured = ReadonlyMap<Case, Partial<Record<Side, Values[]>>>;

async function measureRounds(fleet: Fleet, cases: readonly Case[]): Promise<Measured> {
  const measured = new Map(cases.map((one) => [one, {} as Partial<Record<Side, Values[]>>]));
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) {
      if (one.isConstant && round > 0) continue;
      const turn = { round, salt: `round ${round}`, tokens, model: fleet.model };
      for (const side of inTurn(SIDES, round)) {
        const values = await measureSide(fleet, one, side, turn);
        if (!values) continue;
        say(`${one.id}, ${side}: ${describe(values)}`);
        const samples = measured.get(one)!;
        samples[side] = [...(samples[side] ?? []), values];
      }
    }
  }
  return measured;
}

function measureSide(
  fleet: Fleet,
  one: Case,
  side: Side,
  turn: Parameters<Case['ours']>[1],
): Promise<Values> | undefined {
  if (side === 'llama') return fleet.llama && one.llama?.(fleet.llama, turn);
  if (side === 'this') return one.ours(one.isInt4 ? fleet.int4 : fleet.this, turn);
  return fleet.before && !one.isInt4 ? one.ours(fleet.before, turn) : undefined;
}

function figuresOf(cases: readonly Case[], measured: Measured): Figure[] {
  return cases.flatMap((one) =>
    one.figures.map(({ metric, unit, key, goals = [] }) => {
      const all = measured.get(one)!;
      const ofSide = (side: Side) => (all[side] ?? []).flatMap((values) => values[key] ?? []);
      const samples = { this: ofSide('this'), before: ofSide('before'), llama: ofSide('llama') };
      return toFigure(metric, unit, samples, goals);
    }),
  );
}

/** With warm caches: the first start, which may build them, is not counted. */
async function measureColdStarts(fleetOptions: FleetOptions): Promise<Figure[]> {
  const ready: Partial<Record<Side, number[]>> = {};
  const first: Partial<Record<Side, number[]>> = {};
  for (let i = 0; i <= COLD_STARTS; i++) {
    for (const [side, folder] of [
      ['this', '.'],
      ['before', fleetOptions.against],
    ] as const) {
      if (folder === undefined) continue;
      const server = await startLorikeet(serverFlags(fleetOptions), folder);
      try {
        const firstTokenMs = server.readyMs + (await measureFirstToken(server.url));
        if (i === 0) continue;
        ready[side] = [...(ready[side] ?? []), server.readyMs];
        first[side] = [...(first[side] ?? []), firstTokenMs];
      } finally {
        await server.stop();
      }
    }
  }
  return [
    toFigure('cold start to ready', 'ms', ready, [
      { against: 'number', bound: 'at most', limit: 1500 },
    ]),
    toFigure('cold start to first token', 'ms', first, []),
  ];
}

async function measureBareEngine(dir: string): Promise<Figure> {
  const rate = await measureEngineRate({ dir, slots: SLOTS, maxSeq: MAX_SEQ, tokens });
  return toFigure('the bare engine on the work of 32 streams', 'tok/s', { this: [rate] }, []);
}

async function writeLargeBase(): Promise<string> {
  const dir = path.join(largeFolder, 'llama-1b-random');
  if (!existsSync(dir)) {
    say(`writing a base of 1.2 billion random weights to ${dir}`);
    await writeRandomArtifact(dir, findModel(options.model));
  }
  return dir;
}

function findLlama(): FleetOptions['llama'] {
  const { LLAMA_SERVER: binary, LLAMA_MODEL, LLAMA_ARGS = '' } = process.env;
  const model = isLarge && binary ? writeLargeGguf(binary) : LLAMA_MODEL;
  if (!binary || !model) {
    say('skipped: llama-server (LLAMA_SERVER and LLAMA_MODEL are not both set)');
    return undefined;
  }
  return { binary, model, extraArgs: LLAMA_ARGS.split(' ').filter(Boolean) };
}

/** Q4_0 by the tool beside llama-server. */
function writeLargeGguf(binary: string): string {
  const file = path.join(largeFolder, 'llama-1b-random-Q4_0.gguf');
  if (existsSync(file)) return file;
  const wide = path.join(scratch, 'f16.gguf');
  writeRandomGguf(wide, findModel(options.model));
  const tool = path.join(path.dirname(binary), 'llama-quantize');
  execFileSync(tool, [wide, file, 'Q4_0'], { stdio: 'ignore' });
  rmSync(wide);
  return file;
}

function describe(values: Values): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} ${value.toFixed(value < 10 ? 3 : 1)}`)
    .join(', ');
}

function print(figures: readonly Figure[]): void {
  process.stdout.write(`${processorLine()}\n\n${toMarkdown(figures)}\n`);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
