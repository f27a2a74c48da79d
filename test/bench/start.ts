// `npm run bench:start`: what a start costs, phase by phase, and what a ready server keeps in memory; medians over
// rounds in which the variants take turns. Clock times are for a quiet machine; CPU times are comparable on a busy one.
// Arguments: --model DIR  --rounds N  --node FILE,…  (other Nodes)  --against DIR,…  (other checkouts, built)
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { readArtifact } from '../../src/import/artifact.ts';
import { postJson } from '../api.ts';
import { ALL_R16, writeAdapters } from './adapters.ts';

const { model, rounds, node, against } = parseArgs({
  options: {
    model: { type: 'string', default: 'models/toy' },
    rounds: { type: 'string', default: '7' },
    node: { type: 'string', default: '' },
    against: { type: 'string', default: '' },
  },
}).values;
const MODEL = path.resolve(model);
/** Of Linux; `getconf CLK_TCK`. */
const TICK_MS = 10;
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

const scratch = mkdtempSync(path.join(tmpdir(), 'lorikeet-start-'));
try {
  const artifact = readArtifact(MODEL);
  const { config } = artifact;
  artifact.tensors.close();
  const adapters = path.join(scratch, 'adapters');
  writeAdapters(adapters, config, { shape: ALL_R16, count: 2 });
  const samples = new Map<Variant, Samples>(variants.map((variant) => [variant, new Map()]));
  // The first round builds the serving files and warms the disk's cache.
  for (let round = 0; round <= Number(rounds); round++) {
    for (const variant of variants) {
      const figures = await measure(variant, adapters);
      if (round > 0) addTo(samples.get(variant)!, figures);
    }
  }
  process.stdout.write(`${toMarkdown(samples)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function versionOf(file: string): string {
  return `Node ${execFileSync(file, ['--version'], { encoding: 'utf8' }).trim()}`;
}

async function measure(variant: Variant, adapters: string): Promise<Map<string, number>> {
  const startMs = performance.now();
  const since = () => performance.now() - startMs;
  const { child, url } = await serve(variant, adapters);
  const figures = new Map([['ready, ms', since()]]);
  const pids = { server: child.pid!, engine: engineOf(child.pid!) };
  const readStatus = (when: string) => {
    for (const name of PROCESSES) {
      const { cpuMs, ownMb, fileMb } = usageOf(pids[name]);
      if (when === 'ready') figures.set(`CPU of the ${name}, ms`, cpuMs);
      figures.set(`${name}, ${when}: own memory, MB`, ownMb);
      figures.set(`${name}, ${when}: mapped files, MB`, fileMb);
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

async function serve(
  variant: Variant,
  adapters: string,
): Promise<{ child: ChildProcess; url: string }> {
  const args = ['serve', '--port', '0', '--model', MODEL, '--adapters', adapters];
  const env = { ...process.env, LORIKEET_HOME: path.join(scratch, 'home') };
  const child = spawn(variant.node, ['bin/lorikeet.mjs', ...args], {
    cwd: variant.folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  for await (const chunk of child.stdout) {
    out += chunk;
    const found = / is served at (\S+)/.exec(out);
    if (found) return { child, url: found[1]! };
  }
  throw new Error(`${variant.name} did not get ready`);
}

async function complete(url: string, name: string): Promise<void> {
  const response = await postJson(`${url}/v1/completions`, {
    model: name,
    prompt: 'A bird',
    max_tokens: 1,
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
}

/** The one child of the server, as Linux knows it. */
function engineOf(pid: number): number {
  const isChild = (name: string) =>
    /^\d+$/.test(name) && new RegExp(`^PPid:\\s+${pid}$`, 'm').test(statusOf(name));
  return Number(readdirSync('/proc').find(isChild));
}

function statusOf(pid: number | string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

function usageOf(pid: number): { cpuMs: number; ownMb: number; fileMb: number } {
  const status = statusOf(pid);
  const mb = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024;
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // After the name, which may hold spaces: state is field 3, utime and stime are 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  return { cpuMs, ownMb: mb('RssAnon'), fileMb: mb('RssFile') };
}

/** Nothing from a checkout that does not tell them. */
async function phasesOf(url: string): Promise<[string, number][]> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.matchAll(
    /^lorikeet_start_phase_seconds\{process="(\w+)",phase="(\w+)"\} (\S+)$/gm,
  );
  return [...lines].map(([, name, phase, s]) => [`${name}: ${phase}, ms`, Number(s) * 1000]);
}

function addTo(samples: Samples, figures: ReadonlyMap<string, number>): void {
  for (const [name, value] of figures) samples.set(name, [...(samples.get(name) ?? []), value]);
}

function toMarkdown(samples: ReadonlyMap<Variant, Samples>): string {
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
