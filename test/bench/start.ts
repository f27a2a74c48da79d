// `npm run bench:start`: what a start costs, phase by phase, and what a ready server keeps in memory; medians over
// rounds in which the variants take turns. Clock times are for a quiet machine; CPU times are comparable on a busy one.
// Arguments: --model DIR  --rounds N  --node FILE,…  (other Nodes)  --against DIR,…  (other checkouts, built)

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { ask } from '../api.ts';
import { whenServed } from '../e2e/program.ts';
import { readOptions } from '../options.ts';
import { cpuMs, enginePidOf, statusKb } from '../processes.ts';
import { scratchFolder } from '../scratch.ts';
import { ALL_R16, writeAdapters } from './adapters.ts';
import { readDecoder } from './base.ts';

const { model, rounds, node, against } = readOptions({
  model: 'models/toy',
  rounds: 7,
  node: '',
  against: '',
});
const MODEL = path.resolve(model);
const PROCESSES = ['server', 'engine'] as const;

interface Variant {
  readonly name: string;
  readonly folder: string;
  readonly node: string;
}

const list = (text: string) => text.split(',').filter((part) => part !== '');
const folders = ['.', ...list(against)];
const variants: Variant[] = [process.execPath, ...list(node)].flatMap((file) =>
  folders.map((folder) => ({
    name: `${folder === '.' ? 'this' : path.basename(folder)}, ${versionOf(file)}`,
    folder: path.resolve(folder),
    node: file,
  })),
);

/** Figure → one value for each round. */
type Samples = Map<string, number[]>;

const scratch = scratchFolder();
const adapters = path.join(scratch, 'adapters');
writeAdapters(adapters, readDecoder(MODEL), { shape: ALL_R16, count: 2 });
const samples = new Map<Variant, Samples>(variants.map((variant) => [variant, new Map()]));
// The first round builds the serving files and warms the disk's cache.
for (let round = 0; round <= rounds; round++) {
  for (const variant of variants) {
    const figures = await measure(variant);
    if (round > 0) addTo(samples.get(variant)!, figures);
  }
}
process.stdout.write(`${toMarkdown()}\n`);

function versionOf(file: string): string {
  return `Node ${execFileSync(file, ['--version'], { encoding: 'utf8' }).trim()}`;
}

async function measure(variant: Variant): Promise<Map<string, number>> {
  const startMs = performance.now();
  const since = () => performance.now() - startMs;
  const { child, url } = await serve(variant);
  const figures = new Map([['ready, ms', since()]]);
  const pids = { server: child.pid!, engine: enginePidOf(child.pid!)! };
  const readStatus = (when: string) => {
    for (const name of PROCESSES) {
      const pid = pids[name];
      if (when === 'ready') figures.set(`CPU of the ${name}, ms`, cpuMs(pid));
      figures.set(`${name}, ${when}: own memory, MB`, statusKb(pid, 'RssAnon') / 1024);
      figures.set(`${name}, ${when}: mapped files, MB`, statusKb(pid, 'RssFile') / 1024);
    }
  };
  readStatus('ready');
  await complete(url, 'base');
  figures.set('first token of the base, ms', since());
  const adapterMs = performance.now();
  await complete(url, 'all-r16-0');
  figures.set('then the first of an adapter, ms', performance.now() - adapterMs);
  await Promise.all(['base', 'all-r16-0', 'all-r16-1'].map((name) => complete(url, name)));
  readStatus('after adapters');
  for (const [phase, ms] of await phasesOf(url)) figures.set(phase, ms);
  child.kill('SIGTERM');
  await once(child, 'exit');
  return figures;
}

async function serve(variant: Variant): Promise<{ child: ChildProcess; url: string }> {
  const args = ['serve', '--port', '0', '--model', MODEL, '--adapters', adapters];
  const env = { ...process.env, LORIKEET_HOME: path.join(scratch, 'home') };
  const child = spawn(variant.node, ['bin/lorikeet.mjs', ...args], {
    cwd: variant.folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return { child, url: await whenServed(child) };
}

async function complete(url: string, name: string): Promise<void> {
  await ask(`${url}/v1/completions`, { model: name, prompt: 'A bird', max_tokens: 1 });
}

/** Nothing from a checkout that does not tell them. */
async function phasesOf(url: string): Promise<[string, number][]> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(
    /^lorikeet_start_phase_seconds\{process="(\w+)",phase="(\w+)"\} (\S+)$/gm,
  );
  return [...lines].map(([, name, phase, s]) => [`${name}: ${phase}, ms`, Number(s) * 1000]);
}

function addTo(all: Samples, figures: ReadonlyMap<string, number>): void {
  for (const [name, value] of figures) all.set(name, [...(all.get(name) ?? []), value]);
}

function toMarkdown(): string {
  const names = new Set([...samples.values()].flatMap((one) => [...one.keys()]));
  const median = (values: readonly number[] = []) =>
    [...values].sort((a, b) => a - b)[values.length >> 1]?.toFixed(0) ?? '-';
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    row(['median', ...[...samples.keys()].map(({ name }) => name)]),
    row(['---', ...[...samples.keys()].map(() => '---:')]),
    ...[...names].map((name) =>
      row([name, ...[...samples.values()].map((one) => median(one.get(name)))]),
    ),
  ].join('\n');
}
