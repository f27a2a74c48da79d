// `npm run bench:jobs`: what a running fine-tuning job costs those who are served beside it, by the job's priority: the time
// between tokens and to the first one, alone and beside a job, in rounds that take turns, and how fast the job is meanwhile.
// On Linux, for a quiet machine. Arguments: --model DIR  --rounds N  --streams N  --tokens N  --priority idle,nice
// --method supervised|reinforcement: what the job learns from
// --rest SHARE: the share of the time in which a stream rests between two answers (0.5 loads the machine by half)

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ask, fetchJson } from '../api.ts';
import { type Serving, startServing } from '../e2e/program.ts';
import { givenOrFetched } from '../e2e/served.ts';
import { readOptions } from '../options.ts';
import { childrenOf, commandOf, cpuMs } from '../processes.ts';
import { scratchFolder } from '../scratch.ts';
import { until } from '../until.ts';
import { quantile } from './quantile.ts';
import { stream } from './tiers/stream.ts';

const { model, rounds, streams, tokens, priority, method, rest } = readOptions({
  model: undefined,
  rounds: 6,
  streams: 4,
  tokens: 96,
  priority: 'idle,nice',
  method: 'supervised',
  rest: 0,
});
const isRewarded = method === 'reinforcement';
const hyperparameters = { n_epochs: 50, batch_size: 2 };
const GRADER = {
  ...{ type: 'text_similarity', name: 'alike', evaluation_metric: 'fuzzy_match' },
  ...{ input: '{{sample.output_text}}', reference: '{{item.answer}}' },
};
/** Of the p95 between tokens. */
const TARGET = 1.2;
const ROWS = 400;
/** Of a stream, in each round. */
const REQUESTS = 3;
/** Of a round without streams. */
const SOLO_MS = 3_000;

/** A server, and a job that only goes on while it is measured. */
interface Stage {
  readonly priority: string;
  readonly server: Serving;
}

interface Round {
  /** Empty without streams, as the next list. */
  readonly gapsMs: readonly number[];
  readonly firstTokensMs: readonly number[];
  readonly tokensPerS: number;
  /** The cores that the job used. */
  readonly jobCores: number;
  /** The share of the machine's cores that were busy. */
  readonly busy: number;
}

const FIGURES: Readonly<Record<string, (round: Round) => number>> = {
  'between tokens, p50, ms': ({ gapsMs }) => quantile(gapsMs, 0.5),
  'between tokens, p95, ms': ({ gapsMs }) => quantile(gapsMs, 0.95),
  'between tokens, p99, ms': ({ gapsMs }) => quantile(gapsMs, 0.99),
  'first token, p95, ms': ({ firstTokensMs }) => quantile(firstTokensMs, 0.95),
  'tokens per second': ({ tokensPerS }) => tokensPerS,
};

const scratch = scratchFolder();
const stages: Stage[] = [];
try {
  const base = await givenOrFetched(model);
  for (const one of priority.split(',')) {
    const args = ['--model', base, '--train-priority', one, '--slots', `${streams}`];
    stages.push({ priority: one, server: await startServing(args, path.join(scratch, one)) });
  }
  process.stdout.write(`${toMarkdown(await measure(stages))}\n`);
} finally {
  for (const { server } of stages) {
    signalJob(server, 'SIGKILL');
    server.child.kill('SIGKILL');
  }
}

/** By what is measured: `solo` (the job without streams), `alone` (the streams without a job), and each priority. */
type Measured = Record<string, Round[]>;

async function measure(stages: readonly Stage[]): Promise<Measured> {
  for (const { server } of stages) {
    await createJob(server.url);
    signalJob(server, 'SIGSTOP');
    await serveRound(server); // warm
  }
  const [first] = stages;
  const kinds: readonly (readonly [string, () => Promise<Round>])[] = [
    ['solo', () => withJob(first!.server, () => soloRound(first!.server))],
    ['alone', () => serveRound(first!.server)],
    ...stages.map(
      ({ priority, server }) =>
        [priority, () => withJob(server, () => serveRound(server))] as const,
    ),
  ];
  const measured: Measured = Object.fromEntries(kinds.map(([kind]) => [kind, []]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < kinds.length; i++) {
      const [kind, run] = kinds[(i + round) % kinds.length]!; // each is first in its turn
      measured[kind]!.push(await run());
      process.stderr.write(`round ${round + 1}, ${kind}: ${summary(measured[kind]!.at(-1)!)}\n`);
    }
  }
  return measured;
}

async function withJob(server: Serving, work: () => Promise<Round>): Promise<Round> {
  signalJob(server, 'SIGCONT');
  try {
    return await work();
  } finally {
    signalJob(server, 'SIGSTOP');
  }
}

function soloRound(server: Serving): Promise<Round> {
  return timeRound(server, async () => {
    await setTimeout(SOLO_MS);
    return { gapsMs: [], firstTokensMs: [] };
  });
}

function serveRound(server: Serving): Promise<Round> {
  return timeRound(server, async () => {
    const gapsMs: number[] = [];
    const firstTokensMs: number[] = [];
    const ask = async (_: unknown, i: number) => {
      for (let asked = 0; asked < REQUESTS; asked++) {
        const startMs = performance.now();
        const seed = i * REQUESTS + asked + 1;
        const answer = await stream(server.url, { model: 'base', maxTokens: tokens, seed });
        gapsMs.push(...answer.gapsMs);
        firstTokensMs.push(answer.firstTokenMs);
        const tookMs = performance.now() - startMs;
        await setTimeout((tookMs * rest) / (1 - rest));
      }
    };
    await Promise.all(Array.from({ length: streams }, ask));
    return { gapsMs, firstTokensMs };
  });
}

async function timeRound(
  server: Serving,
  work: () => Promise<Pick<Round, 'gapsMs' | 'firstTokensMs'>>,
): Promise<Round> {
  const before = { ms: performance.now(), job: jobSeconds(server), machine: machineTicks() };
  const { gapsMs, firstTokensMs } = await work();
  const seconds = (performance.now() - before.ms) / 1000;
  const machine = machineTicks();
  return {
    gapsMs,
    firstTokensMs,
    tokensPerS: (gapsMs.length + firstTokensMs.length) / seconds,
    jobCores: (jobSeconds(server) - before.job) / seconds,
    busy: (machine.busy - before.machine.busy) / (machine.all - before.machine.all),
  };
}

/** Resolves when it has made a step. */
async function createJob(url: string): Promise<void> {
  const words = 'river stone light morning garden bridge window market winter paper'.split(' ');
  const rows = Array.from({ length: ROWS }, (_, i) => {
    const [a, b, c] = [words[i % 10], words[(i * 3) % 10], words[(i * 7) % 10]];
    const question = `What do ${a} and ${b} have to do with ${c} number ${i}?`;
    const answer = `The ${a} is by the ${b}, and the ${c} is the one of ${i}.`;
    const asked = [{ role: 'user', content: question }];
    const row = isRewarded
      ? { messages: asked, answer }
      : { messages: [...asked, { role: 'assistant', content: answer }] };
    return JSON.stringify(row);
  });
  const form = new FormData();
  form.set('purpose', 'fine-tune');
  form.set('file', new Blob([rows.join('\n')]), 'rows.jsonl');
  const { id: file } = await fetchJson<{ id: string }>(`${url}/v1/files`, {
    method: 'POST',
    body: form,
  });
  const body = {
    model: 'base',
    training_file: file,
    method: {
      type: method,
      [method]: { ...(isRewarded && { grader: GRADER }), hyperparameters },
    },
    ...(isRewarded && { lorikeet: { completion_length: 32 } }),
  };
  const { id } = await ask<{ id: string }>(`${url}/v1/fine_tuning/jobs`, body);
  await until('its first step', async () => (await stepOf(url, id)) > 0);
}

/** The last one that was told; 0 before the first. */
async function stepOf(url: string, job: string): Promise<number> {
  interface Events {
    readonly data: readonly { readonly message: string }[];
  }
  const { data } = await fetchJson<Events>(`${url}/v1/fine_tuning/jobs/${job}/events?limit=20`);
  const steps = data.flatMap(({ message }) => /^Step (\d+)\//.exec(message)?.[1] ?? []);
  return Number(steps[0] ?? 0);
}

/** To the server's trainer, if there is one. */
function signalJob(server: Serving, signal: NodeJS.Signals): void {
  const pid = trainerOf(server);
  if (pid !== undefined) process.kill(pid, signal);
}

/** The CPU time that the trainer has used; 0 if there is none. */
function jobSeconds(server: Serving): number {
  const pid = trainerOf(server);
  return pid === undefined ? 0 : cpuMs(pid) / 1000;
}

function machineTicks(): { busy: number; all: number } {
  const [line] = readFileSync('/proc/stat', 'utf8').split('\n');
  const ticks = line!.split(/\s+/).slice(1, 9).map(Number);
  const all = ticks.reduce((sum, count) => sum + count, 0);
  return { all, busy: all - ticks[3]! - ticks[4]! };
}

function trainerOf({ child }: Serving): number | undefined {
  return childrenOf(child.pid!).find((pid) => /trainer\/main\.(ts|js)/.test(commandOf(pid)));
}

function summary({ gapsMs, tokensPerS, jobCores }: Round): string {
  const p95 = gapsMs.length === 0 ? '-' : quantile(gapsMs, 0.95).toFixed(1);
  return `p95 ${p95} ms, ${tokensPerS.toFixed(0)} tok/s, job ${jobCores.toFixed(2)} cores`;
}

/** Medians over the rounds. A ratio is the median of the ratios within the rounds. */
function toMarkdown({ solo, alone, ...beside }: Measured): string {
  const median = (values: readonly number[]) => quantile(values, 0.5).toFixed(2);
  const names = Object.keys(beside);
  const rows = Object.entries(FIGURES).map(([name, figure]) => {
    const cells = names.flatMap((kind) => {
      const own = beside[kind]!;
      const ratios = own.map((round, i) => figure(round) / figure(alone![i]!));
      return [median(own.map(figure)), `${median(ratios)} x`];
    });
    return `| ${[name, median(alone!.map(figure)), ...cells].join(' | ')} |`;
  });
  const cores = ({ jobCores }: Round) => jobCores;
  const speed = names.flatMap((kind) => {
    const ratios = beside[kind]!.map((round, i) => cores(round) / cores(solo![i]!));
    return [median(beside[kind]!.map(cores)), `${median(ratios)} x`];
  });
  const job = `| cores of the job (solo: ${median(solo!.map(cores))}) | | ${speed.join(' | ')} |`;
  const busy = median(alone!.map((round) => round.busy));
  const load = `${streams} streams of ${tokens} tokens that rest ${rest} of the time, ${rounds} rounds`;
  const head = `${load}. Alone, ${busy} of the machine is busy.`;
  const columns = ['figure', 'alone', ...names.flatMap((kind) => [`beside a job, ${kind}`, ''])];
  const ruler = `|${'---|'.repeat(columns.length)}`;
  const target = `Targets: p95 between tokens at most ${TARGET} x; on a half-loaded machine the job at least 0.2 x.`;
  const table = [`| ${columns.join(' | ')} |`, ruler, ...rows, job].join('\n');
  return `${head}\n\n${table}\n\n${target}`;
}
