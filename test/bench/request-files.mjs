#!/usr/bin/env node
// Lists the source files that a warm streaming chat completion passes through: those with a function that runs in the
// server or the engine process during the request, by V8's coverage counters. Functions that also run in an idle second
// (timers, polling) do not count. Files whose code runs only when they are loaded do not count either.
//   node test/bench/request-files.mjs [--root CHECKOUT] [--model DIR] [--adapter NAME] [--rounds N]
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
  for (let i = 0; i < 4; i++) await complete();
  const counts = [];
  let files = [];
  for (let round = 0; round < Number(options.rounds); round++) {
    await takeFiles();
    await delay(1000);
    const idle = await takeFiles();
    await complete(); // reads again what has aged meanwhile
    await takeFiles();
    await complete();
    files = [...(await takeFiles())].filter((file) => !idle.has(file)).sort();
    counts.push(files.length);
  }
  counts.sort((a, b) => a - b);
  process.stdout.write(`${files.join('\n')}\n`);
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

/** The files with functions that ran since the last call. */
async function takeFiles() {
  const children = execFileSync('pgrep', ['-P', String(server.pid)], { encoding: 'utf8' });
  const known = new Set(readdirSync(coverage));
  const pids = [server.pid, ...children.trim().split('\n').map(Number)];
  for (const pid of pids) process.kill(pid, 'SIGUSR2');
  const fresh = () => readdirSync(coverage).filter((name) => !known.has(name));
  while (fresh().length < 2) await delay(20);
  await delay(100); // for the last bytes
  const files = new Set();
  for (const name of fresh()) {
    const { result } = JSON.parse(readFileSync(path.join(coverage, name), 'utf8'));
    for (const { url, functions } of result) {
      const file = path.relative(root, url.replace('file://', '').replace(/\?.*/, ''));
      if (!/^(src|adapters)\//.test(file)) continue;
      const hasRun = functions.some(
        ({ functionName, ranges }) => functionName !== '' && ranges[0].count > 0,
      );
      if (hasRun) files.add(file);
    }
  }
  return files;
}
