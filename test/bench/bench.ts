// `npm run bench`: lorikeet against llama-server on this machine, taking turns, medians over the rounds.
// Environment: LLAMA_SERVER (its binary), LLAMA_MODEL (the same base as GGUF), LLAMA_ARGS (more arguments, such as
// --no-repack on a host that reports AMX and forbids it). What is missing is skipped and said.
// Arguments: --model NAME|DIR  --rounds N  --tokens N  --json FILE
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { readArtifact } from '../../src/import/artifact.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { loadConfig } from '../../src/settings/config.ts';
import { sharedPath } from '../shared.ts';
import { ALL_R16, QV_R8, writeAdapters, writeLlamaAdapters } from './adapters.ts';
import { measureEngineRate } from './engine-rate.ts';
import { type ColdStart, figuresOf, type Measured } from './figures.ts';
import {
  type LoadOptions,
  type LoadResult,
  measureFirstToken,
  measureLoad,
  measurePrefill,
} from './measure.ts';
import { processorLine } from './processor.ts';
import { type Figure, toMarkdown } from './report.ts';
import { type Server, startLlama, startLorikeet } from './servers.ts';

const SLOTS = 32;
const MAX_SEQ = 1280;
const COLD_STARTS = 5;

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'smollm2-135m-instruct-q4' },
    rounds: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '64' },
    json: { type: 'string' },
  },
});
const rounds = Number(options.rounds);
const tokens = Number(options.tokens);
const loadScript = sharedPath('bench', 'load.mjs');
if (!loadScript) throw new Error('the load generator is absent (LORIKEET_SHARED)');

interface Case {
  readonly id: string;
  readonly load: Omit<LoadOptions, 'url' | 'tokens' | 'llamaIds'>;
  /** Absent: measured on lorikeet alone. Without ids: on the server that has no adapters loaded. */
  readonly llama?: Pick<LoadOptions, 'llamaIds'>;
}

const scratch = mkdtempSync(path.join(tmpdir(), 'lorikeet-bench-'));
try {
  await main();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function main(): Promise<void> {
  const { dir, decoder } = openModel(options.model);
  const qv = writeAdapters(scratch, decoder, { shape: QV_R8, count: SLOTS });
  const all = writeAdapters(scratch, decoder, { shape: ALL_R16, count: SLOTS });
  const flags = { model: dir, adapters: scratch, slots: SLOTS, 'max-seq': MAX_SEQ };
  // Thirty-two wide adapters and as many narrow ones at once.
  const args = Object.entries({ ...flags, 'adapter-cache': '2GiB' }).map(
    ([name, value]) => `--${name}=${value}`,
  );
  const coldStarts = await measureColdStarts(args);
  const rounds = await measureRounds(args, decoder, listCases(qv, all));
  const engineRate = await measureEngineRate({ dir, slots: SLOTS, maxSeq: MAX_SEQ, tokens });
  print(figuresOf({ ...rounds, coldStarts, engineRate }));
}

/** All servers are up all the time; an idle one uses no processor. */
async function measureRounds(
  args: readonly string[],
  decoder: DecoderConfig,
  cases: readonly Case[],
): Promise<Pick<Measured, 'results' | 'prefill' | 'rss'>> {
  const results = new Map<string, LoadResult[]>();
  const prefill = { ours: [] as number[], llama: [] as number[] };
  const ours = await startLorikeet(args);
  let llama: LlamaServers | undefined;
  try {
    llama = await tryStartLlama(decoder);
    for (let round = 0; round < rounds; round++) {
      for (const { id, load, llama: other } of cases) {
        await note(results, `ours ${id}`, { url: ours.url, tokens, ...load });
        if (!llama || !other) continue;
        const { streams } = load;
        const { url } = other.llamaIds ? llama.withAdapters : llama.bare;
        await note(results, `llama ${id}`, { url, tokens, streams, ...other });
      }
      prefill.ours.push(await measurePrefill(ours.url, round));
      if (llama) prefill.llama.push(await measurePrefill(llama.bare.url, round));
    }
    return { results, prefill, rss: { ours: ours.rssMb(), llama: llama?.withAdapters.rssMb() } };
  } finally {
    await Promise.all([ours.stop(), llama?.bare.stop(), llama?.withAdapters.stop()]);
  }
}

function openModel(model: string): { dir: string; decoder: DecoderConfig } {
  const named = path.join(loadConfig().home, 'models', model);
  const dir = existsSync(named) ? named : path.resolve(model);
  if (!existsSync(dir)) {
    throw new Error(`${model} is not imported: lorikeet import ${model} --out ${named}`);
  }
  const artifact = readArtifact(dir);
  artifact.tensors.close();
  return { dir, decoder: artifact.config };
}

function listCases(qv: readonly string[], all: readonly string[]): Case[] {
  const base = [1, 8, 32].map((streams) => ({
    id: `base ${streams}`,
    load: { streams },
    llama: {},
  }));
  const four = {
    id: 'four adapters',
    load: { streams: 32, adapters: all.slice(0, 4) },
    llama: { llamaIds: [0, 1, 2, 3] },
  };
  const many = [qv, all].flatMap((names) =>
    [8, 32].map((count) => ({
      id: `${names[0]!.replace(/-0$/, '')} ${count}`,
      load: { streams: 32, adapters: names.slice(0, count) },
    })),
  );
  return [...base, four, ...many];
}

async function note(
  results: Map<string, LoadResult[]>,
  id: string,
  load: LoadOptions,
): Promise<void> {
  const result = await measureLoad(loadScript!, load);
  say(
    `${id}: ${result.tokensPerS} tok/s, first token ${result.ttftP50Ms} / ${result.ttftP95Ms} ms`,
  );
  results.set(id, [...(results.get(id) ?? []), result]);
}

/** With warm caches: the first start, which may build them, is not counted. */
async function measureColdStarts(args: readonly string[]): Promise<ColdStart[]> {
  const starts: ColdStart[] = [];
  for (let i = 0; i <= COLD_STARTS; i++) {
    const server = await startLorikeet(args);
    try {
      const firstTokenMs = server.readyMs + (await measureFirstToken(server.url));
      if (i > 0) starts.push({ readyMs: server.readyMs, firstTokenMs });
    } finally {
      await server.stop();
    }
  }
  return starts;
}

/** Loaded adapters slow llama-server down for requests of the base too: those go to a server without any. */
interface LlamaServers {
  readonly bare: Server;
  readonly withAdapters: Server;
}

async function tryStartLlama(decoder: DecoderConfig): Promise<LlamaServers | undefined> {
  const { LLAMA_SERVER: binary, LLAMA_MODEL: model, LLAMA_ARGS = '' } = process.env;
  const extraArgs = LLAMA_ARGS.split(' ').filter(Boolean);
  if (!binary || !model) {
    say('skipped: llama-server (LLAMA_SERVER and LLAMA_MODEL are not both set)');
    return undefined;
  }
  const folder = path.join(scratch, '.llama');
  const loras = writeLlamaAdapters(folder, decoder, { shape: ALL_R16, count: 4 });
  const threads = availableParallelism();
  const shared = { binary, model, slots: SLOTS, maxSeq: MAX_SEQ, threads, extraArgs };
  const bare = await startLlama({ ...shared, loras: [] });
  return { bare, withAdapters: await startLlama({ ...shared, loras }) };
}

function print(figures: readonly Figure[]): void {
  process.stdout.write(`${processorLine()}\n\n${toMarkdown(figures)}\n`);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(figures, null, 2)}\n`);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
