// `npm run bench:cold`: requests that each name another adapter, none of which was asked for before, against an earlier
// checkout, in turns. Medians over the rounds.
// Arguments: --against DIR (another checkout, built)  --model NAME|DIR  --adapters N (in the folder)  --requests N (of a
//   round)  --rounds N

import path from 'node:path';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { type AdapterShape, QV_R8, writeAdapters } from './adapters.ts';
import { findModel, readDecoder } from './base.ts';
import { inTurn, type Side, toFigure, toMarkdown } from './comparison.ts';
import { serverFlags } from './fleet.ts';
import { streamOnce } from './load.ts';
import { processorLine } from './processor.ts';
import { type Server, startLorikeet } from './servers.ts';

const STREAMS = 8;
const TOKENS = 4;
/** One after the other, in each round. */
const REQUESTS_ALONE = 20;
/** Enough for the just-in-time compiler. */
const WARM_UPS = 60;
/** As PEFT saves them: 1.8 MB. */
const SHAPE: AdapterShape = { ...QV_R8, dtype: 'F32' };

const options = readOptions({
  against: undefined,
  model: 'smollm2-135m-instruct-q4',
  adapters: 2000,
  requests: 400,
  rounds: 3,
});
const { requests, rounds } = options;
const count = Math.max(options.adapters, WARM_UPS + rounds * (requests + REQUESTS_ALONE));

interface Measured {
  readonly side: Side;
  readonly server: Server;
  /** Adapters that were not asked for yet. */
  readonly unused: string[];
  readonly perS: number[];
  readonly aloneMs: number[];
}

const sides: Measured[] = [];
try {
  await main();
} finally {
  for (const { server } of sides) await server.stop();
}

async function main(): Promise<void> {
  const model = findModel(options.model);
  const adapters = scratchFolder();
  const names = writeAdapters(adapters, readDecoder(model), { shape: SHAPE, count });
  const flags = serverFlags({ model, adapters, slots: STREAMS, maxSeq: 1280 });
  const folders = { this: '.', before: options.against };
  for (const [side, folder] of Object.entries(folders) as [Side, string | undefined][]) {
    if (folder === undefined) continue;
    const server = await startLorikeet(flags, path.resolve(folder));
    sides.push({ side, server, unused: [...names], perS: [], aloneMs: [] });
  }
  for (const side of sides) await measureRate(side, WARM_UPS);
  for (let round = 0; round < rounds; round++) {
    for (const side of inTurn(sides, round)) {
      side.perS.push(await measureRate(side, requests));
      side.aloneMs.push(await measureAlone(side));
      process.stderr.write(
        `${side.side}: ${side.perS.at(-1)!.toFixed(1)}/s, ${side.aloneMs.at(-1)!.toFixed(1)} ms\n`,
      );
    }
  }
  report();
}

/** Requests per second of streams that take the next adapter as soon as they have an answer. */
async function measureRate({ server, unused }: Measured, total: number): Promise<number> {
  const names = unused.splice(0, total);
  const startMs = performance.now();
  await Promise.all(
    Array.from({ length: STREAMS }, async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop())
        await askOnce(server, name);
    }),
  );
  return (total * 1000) / (performance.now() - startMs);
}

/** Milliseconds of a request, one after the other. */
async function measureAlone({ server, unused }: Measured): Promise<number> {
  const startMs = performance.now();
  for (const name of unused.splice(0, REQUESTS_ALONE)) await askOnce(server, name);
  return (performance.now() - startMs) / REQUESTS_ALONE;
}

/** Each adapter has a prompt of its own, although prefixes are not shared between adapters. */
async function askOnce({ url }: Server, adapter: string): Promise<void> {
  await streamOnce({ url, adapters: [adapter] }, 0, adapter, TOKENS);
}

function report(): void {
  const samples = (values: 'perS' | 'aloneMs') =>
    Object.fromEntries(sides.map((one) => [one.side, one[values]]));
  const rate = `${STREAMS} streams, every request another cold adapter`;
  const figures = [
    toFigure(rate, 'requests/s', samples('perS'), [
      { against: 'before', bound: 'at least', limit: 2 },
    ]),
    toFigure('such a request alone', 'ms', samples('aloneMs'), []),
  ];
  process.stdout.write(`${processorLine()}\n\n${toMarkdown(figures)}\n`);
}
