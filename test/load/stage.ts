// `lorikeet serve` with tenants, keys and adapters of its own, and what can be seen of its processes from outside.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { writeAdapters } from '../bench/adapters.ts';
import { readDecoder } from '../bench/base.ts';
import { type Serving, startServing } from '../e2e/program.ts';
import { statusKb } from '../processes.ts';
import { parsePrometheusText } from '../telemetry/prometheus-parser.ts';
import { keysFileOf, type MadeKey, makeKey } from '../tenants/keys.ts';

/** Runs what was registered when the scenario ends. */
export interface Scope {
  after(end: () => unknown): void;
}

export interface StageOptions {
  /** The base's folder. */
  readonly model: string;
  /** An empty folder of the stage's own. */
  readonly home: string;
  readonly slots: number;
  readonly args?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Default: the four of `TENANTS`. */
  readonly keys?: readonly MadeKey[];
}

export interface Stage {
  readonly serving: Serving;
  readonly url: string;
  /** By tenant. */
  readonly keys: Readonly<Record<string, string>>;
  /** A sample of /metrics without labels. Reading begins a new interval of the event loop's figures. */
  metric(name: string): Promise<number>;
}

export const TENANTS = ['amber', 'birch', 'cedar', 'dune'];
/** Adapters of all tenants. */
const ADAPTERS = { label: 'shared', rank: 8, targets: ['q_proj', 'v_proj'] } as const;
export const ADAPTER_NAMES = [0, 1, 2, 3].map((i) => `${ADAPTERS.label}-${i}`);
/** Small enough that the generator's connections fill the queue. */
const MAX_WAITING = 64;

export async function startStage(scope: Scope, options: StageOptions): Promise<Stage> {
  const { model, home, slots, args = [], environment = {} } = options;
  const operator = makeKey('operator', true);
  const keys = [operator, ...(options.keys ?? TENANTS.map((tenant) => makeKey(tenant)))];
  mkdirSync(home, { recursive: true });
  writeFileSync(path.join(home, 'keys.json'), JSON.stringify(keysFileOf(keys)), { mode: 0o600 });
  const adapters = path.join(home, 'served');
  writeAdapters(adapters, readDecoder(model), { shape: ADAPTERS, count: 4 });
  const flags = ['--model', model, '--adapters', adapters, `--slots=${slots}`];
  const queue = args.some((arg) => arg.startsWith('--max-waiting'))
    ? []
    : [`--max-waiting=${MAX_WAITING}`];
  const serving = await startServing([...flags, ...queue, '--no-demo', ...args], home, environment);
  scope.after(() => serving.stop());
  return {
    serving,
    url: serving.url,
    keys: Object.fromEntries(keys.map(({ text, entry }) => [entry.tenant, text])),
    async metric(name) {
      const headers = { authorization: `Bearer ${operator.text}` };
      const response = await fetch(`${serving.url}/metrics`, { headers });
      const family = parsePrometheusText(await response.text()).get(name);
      const [sample] = family?.samples ?? [];
      if (!sample) throw new Error(`/metrics has no ${name}`);
      return sample.value;
    },
  };
}

/** What a process holds at a moment. */
export interface Held {
  /** Memory of its own, without mapped files. */
  readonly anonymousMib: number;
  readonly descriptors: number;
}

export function heldBy(pid: number): Held {
  return {
    anonymousMib: statusKb(pid, 'RssAnon') / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}
