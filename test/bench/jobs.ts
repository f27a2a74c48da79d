// `npm run bench:jobs`: what a running fine-tuning job costs those who are served beside it: the time between tokens and
// to the first one, with the job and without, in rounds that take turns. For a quiet machine. Arguments: --model DIR
// --rounds N  --streams N  --tokens N
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Serving, startServing } from '../e2e/program.ts';
import { fetchBase } from '../e2e/served.ts';
import { quantile } from './tiers/quantile.ts';
import { keepAsking } from './tiers/stream.ts';

const { model, rounds, streams, tokens } = parseArgs({
  options: {
    model: { type: 'string' },
    rounds: { type: 'string', default: '6' },
    streams: { type: 'string', default: '4' },
    tokens: { type: 'string', default: '96' },
  },
}).values;
/** Of the p95 between tokens. */
const TARGET = 1.5;
const ROWS = 400;
/** Of a stream, in each round. */
const REQUESTS = 3;
const POLL_MS = 20;
/** The server looks at its jobs' records every three seconds, and a step ends first. */
const DEADLINE_MS = 120_000;

interface Round {
  readonly gapsMs: readonly number[];
  readonly firstTokensMs: readonly number[];
  readonly tokensPerS: number;
  readonly stepsPerS: number;
}

const scratch = mkdtempSync(path.join(tmpdir(), 'lorikeet-jobs-'));
try {
  const server = await startServing(['--model', await findModel()], scratch);
  try {
    process.stdout.write(`${toMarkdown(await measure(server))}\n`);
  } finally {
    await server.stop();
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

async function findModel(): Promise<string> {
  if (model !== undefined) return model;
  const base = await fetchBase();
  if ('reason' in base) throw new Error(base.reason);
  return base.dir;
}

async function measure(server: Serving): Promise<Record<'alone' | 'beside', Round[]>> {
  const job = await createJob(server.url);
  const measured: Record<'alone' | 'beside', Round[]> = { alone: [], beside: [] };
  await serveRound(server, job); // warm
  for (let round = 0; round < Number(rounds); round++) {
    // The first of a pair in every other round.
    const order = round % 2 === 0 ? (['beside', 'alone'] as const) : (['alone', 'beside'] as const);
    for (const kind of order) {
      await (kind === 'alone' ? rest(server, job) : train(server, job));
      measured[kind].push(await serveRound(server, job));
      process.stderr.write(`round ${round + 1}, ${kind}: ${summary(measured[kind].at(-1)!)}\n`);
    }
  }
  return measured;
}

async function serveRound({ url }: Serving, job: string): Promise<Round> {
  const gapsMs: number[] = [];
  const firstTokensMs: number[] = [];
  const startMs = performance.now();
  const startStep = await stepOf(url, job);
  let asked = 0;
  await keepAsking(url, Number(streams), {
    next() {
      if (asked === Number(streams) * REQUESTS) return undefined;
      return { model: 'base', maxTokens: Number(tokens), seed: ++asked };
    },
    onAnswer(answer) {
      gapsMs.push(...answer.gapsMs);
      firstTokensMs.push(answer.firstTokenMs);
    },
  });
  const seconds = (performance.now() - startMs) / 1000;
  const steps = (await stepOf(url, job)) - startStep;
  const tokenCount = gapsMs.length + firstTokensMs.length;
  return { gapsMs, firstTokensMs, tokensPerS: tokenCount / seconds, stepsPerS: steps / seconds };
}

async function createJob(url: string): Promise<string> {
  const words = 'river stone light morning garden bridge window market winter paper'.split(' ');
  const rows = Array.from({ length: ROWS }, (_, i) => {
    const [a, b, c] = [words[i % 10], words[(i * 3) % 10], words[(i * 7) % 10]];
    const messages = [
      { role: 'user', content: `What do ${a} and ${b} have to do with ${c} number ${i}?` },
      { role: 'assistant', content: `The ${a} is by the ${b}, and the ${c} is the one of ${i}.` },
    ];
    return JSON.stringify({ messages });
  });
  const form = new FormData();
  form.set('purpose', 'fine-tune');
  form.set('file', new Blob([rows.join('\n')]), 'rows.jsonl');
  const { id: file } = await call<{ id: string }>(`${url}/v1/files`, {
    method: 'POST',
    body: form,
  });
  const body = {
    model: 'base',
    training_file: file,
    method: {
      type: 'supervised',
      supervised: { hyperparameters: { n_epochs: 50, batch_size: 2 } },
    },
  };
  const { id } = await post<{ id: string }>(`${url}/v1/fine_tuning/jobs`, body);
  await until('its first step', async () => (await stepOf(url, id)) > 0);
  return id;
}

/** The job goes on, and has begun to. */
async function train({ url }: Serving, job: string): Promise<void> {
  if ((await statusOf(url, job)) === 'paused') await post(`${jobUrl(url, job)}/resume`, {});
  const step = await stepOf(url, job);
  await until('a step', async () => (await stepOf(url, job)) > step);
}

/** The job is paused, and its trainer gone. */
async function rest(server: Serving, job: string): Promise<void> {
  if ((await statusOf(server.url, job)) !== 'paused') {
    await post(`${jobUrl(server.url, job)}/pause`, {});
  }
  await until('no trainer', async () => trainers(server.child.pid!) === 0);
}

function jobUrl(url: string, job: string): string {
  return `${url}/v1/fine_tuning/jobs/${job}`;
}

async function statusOf(url: string, job: string): Promise<string> {
  return (await call<{ status: string }>(jobUrl(url, job))).status;
}

/** The last one that was told; 0 before the first. */
async function stepOf(url: string, job: string): Promise<number> {
  interface Events {
    readonly data: readonly { readonly message: string }[];
  }
  const { data } = await call<Events>(`${jobUrl(url, job)}/events?limit=20`);
  const steps = data.flatMap(({ message }) => /^Step (\d+)\//.exec(message)?.[1] ?? []);
  return Number(steps[0] ?? 0);
}

/** Processes of the trainer's program below this one. */
function trainers(pid: number): number {
  const read = (name: string, file: string) => {
    try {
      return readFileSync(`/proc/${name}/${file}`, 'utf8');
    } catch {
      return ''; // it has just ended
    }
  };
  return readdirSync('/proc').filter((name) => {
    const isChild = Number(/^PPid:\s+(\d+)/m.exec(read(name, 'status'))?.[1]) === pid;
    return isChild && /trainer\/main\.(ts|js)/.test(read(name, 'cmdline'));
  }).length;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!(await isSo())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain for ${what}`);
    await setTimeout(POLL_MS);
  }
}

function post<T>(url: string, body: object): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  return call<T>(url, { method: 'POST', headers, body: JSON.stringify(body) });
}

async function call<T>(url: string, init?: RequestInit): Promise<T> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

function summary({ gapsMs, tokensPerS, stepsPerS }: Round): string {
  const p95 = quantile(gapsMs, 0.95).toFixed(1);
  return `p95 ${p95} ms, ${tokensPerS.toFixed(0)} tok/s, ${stepsPerS.toFixed(2)} steps/s`;
}

/** Medians over the rounds; the ratio is that of each pair, and its median. */
function toMarkdown({ alone, beside }: Record<'alone' | 'beside', Round[]>): string {
  const figures: Record<string, (round: Round) => number> = {
    'between tokens, p50, ms': ({ gapsMs }) => quantile(gapsMs, 0.5),
    'between tokens, p95, ms': ({ gapsMs }) => quantile(gapsMs, 0.95),
    'between tokens, p99, ms': ({ gapsMs }) => quantile(gapsMs, 0.99),
    'first token, p95, ms': ({ firstTokensMs }) => quantile(firstTokensMs, 0.95),
    'tokens per second': ({ tokensPerS }) => tokensPerS,
    'steps per second': ({ stepsPerS }) => stepsPerS,
  };
  const rows = Object.entries(figures).map(([name, figure]) => {
    const ratios = beside.map((round, i) => figure(round) / figure(alone[i]!));
    const median = (values: readonly number[]) => quantile(values, 0.5).toFixed(2);
    const ratio = ratios.every(Number.isFinite) ? median(ratios) : '';
    return `| ${name} | ${median(alone.map(figure))} | ${median(beside.map(figure))} | ${ratio} |`;
  });
  const head = `${streams} streams of ${tokens} tokens, ${rounds} rounds`;
  const target = `Target: p95 between tokens at most ${TARGET} x.`;
  return `${head}\n\n| figure | alone | beside a job | ratio |\n|---|---|---|---|\n${rows.join('\n')}\n\n${target}`;
}
