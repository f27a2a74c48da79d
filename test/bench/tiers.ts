// `npm run bench:adapters`: many adapters of SmolLM2 in an S3 server that is 50 ms away, served by `lorikeet serve` with
// room for few. Prints a table against the targets, and writes it with a plot below the folder that --out names.
// Needs Go for the S3 server (versitygw), the first time. What is compared takes turns; figures are medians.
// Arguments: --out DIR  --model DIR  --only PART,…  --adapters N  --requests N  --rounds N  --seconds N (of a throughput)

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { prepareS3Server } from '../e2e/s3-server.ts';
import { givenOrFetched } from '../e2e/served.ts';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { readDecoder } from './base.ts';
import { type Figure, toMarkdown } from './report.ts';
import { measureAbsences } from './tiers/absence.ts';
import {
  absenceFigures,
  firstTokenFigures,
  gapFigures,
  hitFigures,
  tableOfWorkingSets,
} from './tiers/figures.ts';
import { measureFirstTokens } from './tiers/first-token.ts';
import { measureHits } from './tiers/hits.ts';
import { measureNeighbours } from './tiers/neighbours.ts';
import { plotWorkingSets } from './tiers/plot.ts';
import { openShelf, RANKS, type Shelf, type StoredAdapter } from './tiers/shelf.ts';
import { measureWorkingSets } from './tiers/working-sets.ts';

const LATENCY_MS = 50;
const RESIDENT = 8;
/** Of rank 16, 1.8 MB each; the first one is for warming up. */
const PROBES = 21;
const PROBE_RANK = 16;
/** A throughput is noisier than a quantile of thousands of gaps, and takes longer. */
const THROUGHPUT_ROUNDS = 3;

const options = readOptions({
  out: undefined,
  model: undefined,
  only: undefined,
  adapters: 200,
  requests: 800,
  rounds: 5,
  seconds: 8,
});
const { requests, rounds, seconds } = options;

interface Part {
  readonly figures: readonly Figure[];
  /** A table of its own, in markdown. */
  readonly table?: string;
  readonly svg?: string;
  /** As it was measured. */
  readonly raw: unknown;
}

/** Each finds no adapter on the disk. */
const PARTS: Readonly<
  Record<string, (shelf: Shelf, adapters: readonly StoredAdapter[]) => Promise<Part>>
> = {
  async 'first-token'(shelf) {
    const probes = await shelf.publish(named('probe', PROBES, () => PROBE_RANK));
    const raw = await measureFirstTokens(shelf, probes);
    return { raw, figures: firstTokenFigures(raw) };
  },
  async hits(shelf, adapters) {
    const raw = await measureHits(shelf, adapters, { requests, resident: RESIDENT });
    return { raw, figures: hitFigures(raw) };
  },
  async neighbours(shelf, adapters) {
    const { length } = RANKS;
    const [residents, inMemory] = [adapters.slice(0, length), adapters.slice(length, 2 * length)];
    const cold = adapters.slice(2 * length);
    const raw = await measureNeighbours(shelf, { rounds, residents, inMemory, cold });
    return { raw, figures: gapFigures(raw) };
  },
  async 'working-sets'(shelf, adapters) {
    const times = { rounds: Math.min(THROUGHPUT_ROUNDS, rounds), seconds };
    const raw = await measureWorkingSets(shelf, adapters, times);
    const title = `Tokens per second of ${adapters.length} adapters of SmolLM2-135M`;
    const table = tableOfWorkingSets(raw);
    return { raw, figures: [], table, svg: plotWorkingSets(raw, title) };
  },
  async absence(shelf, adapters) {
    const raw = await measureAbsences(shelf, adapters, scratch);
    return { raw, figures: absenceFigures(raw) };
  },
};

const ends: (() => unknown)[] = [];
const scratch = scratchFolder();
try {
  await main();
} finally {
  for (const end of ends.reverse()) await end();
}

async function main(): Promise<void> {
  const only = options.only?.split(',') ?? Object.keys(PARTS);
  const unknown = only.filter((name) => !(name in PARTS));
  if (unknown.length > 0) throw new Error(`--only: no part is called ${unknown.join(', ')}`);
  const shelf = await open();
  const count = options.adapters;
  const adapters = await timed(`${count} adapters published`, () =>
    shelf.publish(named('a', count, (i) => RANKS[i % RANKS.length]!)),
  );
  const parts = new Map<string, Part>();
  for (const name of only) {
    shelf.emptyDisk();
    const part = await timed(name, () => PARTS[name]!(shelf, adapters));
    parts.set(name, part);
    if (parts.size < only.length) process.stderr.write(`${textOf([part])}\n`); // a run may be cut off
  }
  report(parts);
}

async function open(): Promise<Shelf> {
  const fault = await prepareS3Server();
  if (fault) throw new Error(fault);
  const model = await givenOrFetched(options.model && path.resolve(options.model));
  const config = readDecoder(model);
  const cleanup = (end: () => unknown) => void ends.push(end);
  return openShelf({ scratch, model, config, latencyMs: LATENCY_MS, cleanup });
}

function named(prefix: string, count: number, rankOf: (i: number) => number) {
  return Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${i}`, rank: rankOf(i) }));
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
  process.stderr.write(`${what}: ${seconds} s\n`);
  return result;
}

function textOf(parts: readonly Part[]): string {
  const figures = parts.flatMap((part) => part.figures);
  const tables = parts.flatMap(({ table }) => table ?? []);
  return `${[...(figures.length > 0 ? [toMarkdown(figures)] : []), ...tables].join('\n\n')}\n`;
}

function report(parts: ReadonlyMap<string, Part>): void {
  const text = textOf([...parts.values()]);
  process.stdout.write(text);
  if (!options.out) return;
  mkdirSync(options.out, { recursive: true });
  const write = (name: string, content: string) =>
    writeFileSync(path.join(options.out!, name), content);
  write('adapters.md', text);
  for (const { svg } of parts.values()) if (svg) write('adapters.svg', svg);
  const figures = [...parts.values()].flatMap((part) => part.figures);
  const raw = Object.fromEntries([...parts].map(([name, part]) => [name, part.raw]));
  write('adapters.json', `${JSON.stringify({ figures, raw }, null, 2)}\n`);
}
