// `npm run bench:batches`: how fast an idle server works on a batch, compared with the same requests in as many streams as it has
// slots, and what a batch costs those who are served next to it. Rounds alternate. For a quiet machine.
// Arguments: --model DIR  --rounds N  --slots N  --lines N  --tokens N  --streams N  --rest SHARE
// --rest: the share of the time in which an interactive stream rests between two requests

import { setTimeout } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { ask } from '../api.ts';
import { startServing } from '../e2e/program.ts';
import { givenOrFetched } from '../e2e/served.ts';
import { readOptions } from '../options.ts';
import { scratchFolder } from '../scratch.ts';
import { until } from '../until.ts';
import { quantile } from './quantile.ts';
import { stream } from './tiers/stream.ts';

const { model, rounds, slots, lines, tokens, streams, rest } = readOptions({
  model: undefined,
  rounds: 3,
  slots: 32,
  lines: 256,
  tokens: 64,
  streams: 1,
  rest: 0.3,
});
const TARGETS = { throughput: 0.95, p95: 1.15 };
/** Of an interactive stream, in each round. */
const REQUESTS = 12;
const MODELS = ['base', 'zen', 'intent', 'wordnet'];
const ENDPOINT = '/v1/completions';

const FIGURES: Readonly<Record<string, (served: Served) => readonly number[]>> = {
  'between tokens': ({ gapsMs }) => gapsMs,
  'first token': ({ firstTokensMs }) => firstTokensMs,
  'whole response': ({ answersMs }) => answersMs,
};

const args = ['--model', await givenOrFetched(model), '--slots', `${slots}`];
const server = await startServing(args, scratchFolder());
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
try {
  await answerInStreams(); // warm
  const speeds: { streams: number; batch: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    speeds.push({ streams: await timeOf(answerInStreams), batch: await timeOf(answerInBatch) });
  }
  const speedsOf = (way: 'streams' | 'batch') => speeds.map((one) => one[way]);
  report('tokens per second in streams', speedsOf('streams'));
  report('tokens per second in a batch', speedsOf('batch'));
  const ratios = speeds.map((one) => one.batch / one.streams);
  report(`batch to streams (target ${TARGETS.throughput})`, ratios);
  const alone: Served[] = [];
  const beside: Served[] = [];
  for (let round = 0; round < rounds; round++) {
    alone.push(await serveStreams());
    beside.push(await nextToBatch(serveStreams));
  }
  for (const [name, pick] of Object.entries(FIGURES)) {
    const [before, after] = [alone, beside].map((all) => quantile(all.flatMap(pick), 0.95));
    report(`${name}, p95, ms: alone, with a batch`, [before!, after!]);
    report(`${name}: ratio (target ${TARGETS.p95})`, [after! / before!]);
  }
} finally {
  server.child.kill('SIGKILL');
}

function bodies(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    model: MODELS[i % MODELS.length]!,
    prompt: `Question ${i}: what do you know about the number ${i * i}?`,
    max_tokens: tokens,
    temperature: 0,
    ignore_eos: true,
  }));
}

/** Tokens per second. */
async function timeOf(work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await work();
  return (lines * tokens) / ((performance.now() - startMs) / 1000);
}

async function answerInStreams(): Promise<void> {
  const waiting = bodies(lines).values();
  const work = async () => {
    for (const body of waiting) await ask(`${server.url}${ENDPOINT}`, body);
  };
  await Promise.all(Array.from({ length: slots }, work));
}

async function createBatch(count: number): Promise<string> {
  const text = bodies(count).map((body, i) => {
    return JSON.stringify({ custom_id: `${i}`, method: 'POST', url: ENDPOINT, body });
  });
  const file = await toFile(Buffer.from(text.join('\n')), 'lines.jsonl');
  const { id: input } = await client.files.create({ file, purpose: 'batch' });
  const window = { completion_window: '24h' } as const;
  const batch = { input_file_id: input, endpoint: ENDPOINT, ...window } as const;
  return (await client.batches.create(batch)).id;
}

/** From the creation of the batch to its end. */
async function answerInBatch(): Promise<void> {
  const id = await createBatch(lines);
  const hasEnded = async () => (await client.batches.retrieve(id)).status === 'completed';
  await until('the end of the batch', hasEnded, { deadlineMs: 3_600_000, pollMs: 100 });
}

/** Runs a batch that is long enough to last during the work. */
async function nextToBatch<T>(work: () => Promise<T>): Promise<T> {
  const id = await createBatch(10_000);
  const hasBegun = async () => (await client.batches.retrieve(id)).status === 'in_progress';
  await until('the batch to begin', hasBegun);
  await setTimeout(3000); // all slots are in use
  try {
    return await work();
  } finally {
    await client.batches.cancel(id);
    const isOver = async () => (await client.batches.retrieve(id)).status === 'cancelled';
    await until('the end of the batch', isOver);
  }
}

interface Served {
  readonly gapsMs: readonly number[];
  readonly firstTokensMs: readonly number[];
  readonly answersMs: readonly number[];
}

async function serveStreams(): Promise<Served> {
  const gapsMs: number[] = [];
  const firstTokensMs: number[] = [];
  const answersMs: number[] = [];
  const ask = async (_: unknown, i: number) => {
    for (let asked = 0; asked < REQUESTS; asked++) {
      const startMs = performance.now();
      const request = { model: 'base', maxTokens: tokens, seed: i * REQUESTS + asked + 1 };
      const answer = await stream(server.url, request);
      const tookMs = performance.now() - startMs;
      gapsMs.push(...answer.gapsMs);
      firstTokensMs.push(answer.firstTokenMs);
      answersMs.push(tookMs);
      await setTimeout((tookMs * rest) / (1 - rest));
    }
  };
  await Promise.all(Array.from({ length: streams }, ask));
  return { gapsMs, firstTokensMs, answersMs };
}

function report(name: string, figures: readonly number[]): void {
  process.stdout.write(`${name}: ${figures.map((figure) => figure.toFixed(2)).join(', ')}\n`);
}
