#!/usr/bin/env node
// Lists the source files that a warm streaming chat completion passes through, or a fine-tuning job from its request to its
// adapter's alias: those with a function that runs in a process meanwhile, by V8's coverage counters. Functions that also run in
// an idle second (timers, polling) do not count. Files whose code runs only when they are loaded do not count either.
//   node test/bench/request-files.mjs [--root CHECKOUT] [--model DIR] [--adapter NAME] [--rounds N] [--job]
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    root: { type: 'string', default: '.' },
    model: { type: 'string', default: 'models/toy' },
    adapter: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    job: { type: 'boolean', default: false },
  },
});
const root = path.resolve(options.root);
const scratch = mkdtempSync(path.join(tmpdir(), 'lorikeet-files-'));
const coverage = path.join(scratch, 'coverage');
mkdirSync(coverage);
/** Writes the counters of a process, and sets them to zero, on a signal. */
const hook = `data:text/javascript,import v8 from 'node:v8';process.on('SIGUSR2',()=>v8.takeCoverage())`;
const port = 18_999;
const server = spawn(
  process.execPath,
  ['--import', 'tsx', 'src/main.ts', 'serve', '--model', options.model, '--port', String(port)],
  {
    cwd: root,
    stdio: 'ignore',
    env: {
      ...process.env,
      NODE_V8_COVERAGE: coverage,
      NODE_OPTIONS: `--import ${hook.replaceAll(' ', '%20')}`,
      LORIKEET_HOME: path.join(scratch, 'home'),
    },
  },
);
try {
  await untilReady();
  const act = options.job ? train : complete;
  for (let i = 0; i < (options.job ? 1 : 4); i++) await act();
  const counts = [];
  let files = new Map();
  for (let round = 0; round < Number(options.rounds); round++) {
    await takeFiles();
    await delay(1000);
    const idle = await takeFiles();
    if (!options.job) await complete(); // reads again what has aged meanwhile
    await takeFiles();
    await act();
    files = new Map([...(await takeFiles())].filter(([file]) => !idle.has(file)).sort());
    counts.push(files.size);
  }
  counts.sort((a, b) => a - b);
  for (const [file, where] of files)
    process.stdout.write(`${[...where].sort().join('+')}\t${file}\n`);
  for (const process_ of ['server', 'child']) {
    const count = [...files.values()].filter((where) => where.has(process_)).length;
    process.stdout.write(`${process_}: ${count}\n`);
  }
  process.stdout.write(`files: ${counts.join(' ')}; median ${counts[counts.length >> 1]}\n`);
} finally {
  server.kill('SIGTERM');
  await new Promise((resolve) => server.once('exit', resolve));
  rmSync(scratch, { recursive: true, force: true });
}

async function untilReady() {
  for (let i = 0; i < 300; i++) {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await delay(500);
  }
  throw new Error('the server is not ready after 150 s');
}

async function complete() {
  const answer = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: options.adapter ?? 'base',
      messages: [{ role: 'user', content: 'hello' }],
      max_tokens: 6,
      stream: true,
    }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
}

/** Trains on a few rows, until the model's alias has moved. */
async function train() {
  const base = `http://127.0.0.1:${port}/v1`;
  const send = async (route, init) => {
    const answer = await fetch(`${base}${route}`, init);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  const form = new FormData();
  const row = JSON.stringify({ prompt: 'a', completion: 'b' });
  form.set('purpose', 'fine-tune');
  form.set('file', new Blob([`${row}\n`.repeat(10)]), 'rows.jsonl');
  const file = await send('/files', { method: 'POST', body: form });
  const { id } = await send('/fine_tuning/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'base',
      training_file: file.id,
      hyperparameters: { n_epochs: 1 },
    }),
  });
  for (;;) {
    const { status, error } = await send(`/fine_tuning/jobs/${id}`);
    if (status === 'succeeded') return;
    if (status === 'failed') throw new Error(error.message);
    await delay(200);
  }
}

/** The files with functions that ran since the last call, and in which processes. */
async function takeFiles() {
  const children = execFileSync('pgrep', ['-P', String(server.pid)], { encoding: 'utf8' });
  const known = new Set(readdirSync(coverage));
  const pids = [server.pid, ...children.trim().split('\n').map(Number)];
  for (const pid of pids) process.kill(pid, 'SIGUSR2');
  const fresh = () => readdirSync(coverage).filter((name) => !known.has(name));
  while (fresh().length < 2) await delay(20);
  await delay(100); // for the last bytes
  const files = new Map();
  for (const name of fresh()) {
    const { result } = JSON.parse(readFileSync(path.join(coverage, name), 'utf8'));
    for (const { url, functions } of result) {
      const file = path.relative(root, url.replace('file://', '').replace(/\?.*/, ''));
      if (!/^(src|adapters|trainer)\//.test(file)) continue;
      const hasRun = functions.some(
        ({ functionName, ranges }) => functionName !== '' && ranges[0].count > 0,
      );
      if (!hasRun) continue;
      const where = name.includes(`-${server.pid}-`) ? 'server' : 'child';
      files.set(file, (files.get(file) ?? new Set()).add(where));
    }
  }
  return files;
}
