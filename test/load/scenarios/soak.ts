// L7 and L8: a server below its capacity for a long time. Adapters are published and used meanwhile, clients go away, and with
// chaos the engine is killed every minute and a fifth of all requests to the store fail.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type AdapterRepository,
  createRepository,
} from '../../../adapters/repository/repository.ts';
import { SHARED_OWNER } from '../../../src/contracts/tenant.ts';
import { writeAdapters } from '../../bench/adapters.ts';
import { readDecoder } from '../../bench/base.ts';
import { type Fault, type FaultProxy, startFaultProxy } from '../../e2e/fault-proxy.ts';
import {
  openStore,
  prepareS3Server,
  startS3Server,
  storeEnvironment,
} from '../../e2e/s3-server.ts';
import { enginePidOf } from '../../processes.ts';
import { measureCapacity, planOf, SLOTS, usualSources } from '../capacity.ts';
import { nowMs } from '../exchange.ts';
import { learnGolden, startGenerator } from '../generator.ts';
import type { Context } from '../scenario.ts';
import type { Sample } from '../slope.ts';
import { ADAPTER_NAMES, type Held, heldBy, type Stage, startStage, TENANTS } from '../stage.ts';
import { type Outcome, type Plan, uniform } from '../traffic.ts';

export interface SoakOptions {
  readonly minutes: number;
  readonly hasChaos: boolean;
  /** Between two deaths of the engine. */
  readonly killMs?: number;
}

/** Time in which no engine was ready, in Unix milliseconds. */
interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface Soaked {
  readonly outcomes: readonly Outcome[];
  readonly outages: readonly Outage[];
  readonly memory: Readonly<Record<'server' | 'engine', readonly Sample[]>>;
  /** At rest, before the load and after it. */
  readonly before: Held;
  readonly after: Held;
  readonly publications: { readonly confirmed: number; readonly lost: number };
  /** Of the engine after the load. */
  readonly atRest: { readonly running: number; readonly waiting: number };
}

const LOAD = 0.7;
const ABORTED = 0.1;
const STREAMED = 0.7;
const PROMPTS = 6;
/** Contents that are published again and again as versions of one name. */
const CONTENTS = 8;
const PUBLISH_MS = 5000;
const SAMPLE_MS = 2000;
const KILL_MS = 60_000;
const FAULTY = 0.2;
const FAULTS: readonly Fault[] = [
  { kind: 'status', status: 503 },
  { kind: 'status', status: 500 },
  { kind: 'reset' },
  { kind: 'lost' },
  { kind: 'latency', ms: 1000 },
  { kind: 'cut', at: 100 },
];
const CHURN = 'churn';
const PATIENCE_MS = 60_000;

/** Caches that are full after a minute, so that their growth is not taken for a leak. */
const ARGS = [
  ...['--weights=f32', '--threads=1', '--request-timeout=1m'],
  ...['--prefix-cache=8MiB', '--adapter-cache=16MiB', '--adapter-disk=16MiB'],
];

export async function soak(context: Context, options: SoakOptions): Promise<Soaked> {
  const { model, scratch, seconds, tell } = context;
  const store = await prepareStore(context);
  const environment = { ...store.environment, LORIKEET_ALIAS_POLL_MS: '500' };
  const home = path.join(scratch, 'home');
  const stage = await startStage(context, { model, home, slots: SLOTS, args: ARGS, environment });
  const { capacity } = await measureCapacity(stage, Math.min(seconds, 10));
  const perSecond = (LOAD * capacity.tokensPerS) / capacity.tokensPerRequest / TENANTS.length;
  const more = {
    ...{ models: ['base', ...ADAPTER_NAMES, CHURN], prompts: PROMPTS, streamed: STREAMED },
    mix: { abort: ABORTED },
  };
  const sources = usualSources(stage, () => ({ perSecond }), more);
  const versions = Array.from({ length: CONTENTS }, (_, i) => `${CHURN}@${i + 1}`);
  const known = { ...sources[0]!, models: ['base', ...ADAPTER_NAMES, ...versions] };
  const golden = await learnGolden(stage.url, { ...known, prompts: PROMPTS });
  const plan = { ...planOf(stage, sources, { seconds: options.minutes * 60, seed: 7 }), golden };
  tell(`${(TENANTS.length * perSecond).toFixed(0)} requests per second for ${options.minutes} min`);
  return run(context, { stage, store, plan, options });
}

interface Work {
  readonly stage: Stage;
  readonly store: Store;
  readonly plan: Plan;
  readonly options: SoakOptions;
}

async function run({ tell }: Context, { stage, store, plan, options }: Work): Promise<Soaked> {
  const server = stage.serving.child.pid!;
  const outcomes: Outcome[] = [];
  const outages: Outage[] = [];
  const memory = { server: [] as Sample[], engine: [] as Sample[] };
  const over = new AbortController();
  const before = heldBy(server);
  if (options.hasChaos) store.breakSome();
  const { ended } = await startGenerator(plan, (outcome) => outcomes.push(outcome));
  const beside = [
    every(SAMPLE_MS, over.signal, async () => {
      const engine = enginePidOf(server);
      const atMs = nowMs();
      memory.server.push({ atMs, value: heldBy(server).anonymousMib });
      if (engine) memory.engine.push({ atMs, value: heldBy(engine).anonymousMib });
    }),
    every(PUBLISH_MS, over.signal, () => store.publishNext()),
    every(options.killMs ?? KILL_MS, over.signal, async () => {
      tell(`${outcomes.length} requests, ${outages.length} kills`);
      if (options.hasChaos) outages.push(await killEngine(stage));
    }),
  ];
  await Promise.race([ended, ...beside.map((one) => one.then(() => ended))]);
  over.abort();
  await Promise.all(beside);
  const after = await atRest(stage);
  return {
    ...{ outcomes, outages, memory, before, after: heldBy(server) },
    publications: await store.check(),
    atRest: after,
  };
}

/** Runs a task again and again, with pauses before it. */
async function every(
  pauseMs: number,
  signal: AbortSignal,
  task: () => Promise<void>,
): Promise<void> {
  for (;;) {
    await delay(pauseMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    await task();
  }
}

async function killEngine({ serving, url }: Stage): Promise<Outage> {
  const pid = enginePidOf(serving.child.pid!);
  const fromMs = nowMs();
  if (pid === undefined) throw new Error(`the server has no engine: ${serving.output.error}`);
  process.kill(pid, 'SIGKILL');
  // The server may still think that it has the old one.
  const isReady = async () =>
    ![undefined, pid].includes(enginePidOf(serving.child.pid!)) &&
    (await fetch(`${url}/readyz`)).ok;
  while (!(await isReady())) {
    if (nowMs() - fromMs > PATIENCE_MS) throw new Error('the engine is not ready again');
    await delay(20);
  }
  return { fromMs, toMs: nowMs() };
}

/** What the engine still does once everybody has their answer. */
async function atRest({ url, keys }: Stage): Promise<Soaked['atRest']> {
  const headers = { authorization: `Bearer ${keys[TENANTS[0]!]}` };
  const deadlineMs = nowMs() + PATIENCE_MS;
  for (;;) {
    const response = await fetch(`${url}/health`, { headers });
    const { engine } = (await response.json()) as { engine: Soaked['atRest'] | null };
    const { running = -1, waiting = -1 } = engine ?? {};
    if ((running === 0 && waiting === 0) || nowMs() > deadlineMs) return { running, waiting };
    await delay(200);
  }
}

interface Store {
  readonly environment: Readonly<Record<string, string>>;
  /** From now on a fifth of the requests fail. */
  breakSome(): void;
  publishNext(): Promise<void>;
  /** Reads past the proxy what became of the publications. */
  check(): Promise<Soaked['publications']>;
}

/** A real S3 server behind a proxy, with a first version of each content. */
async function prepareStore({ model, scratch, after, tell }: Context): Promise<Store> {
  const fault = await prepareS3Server();
  if (fault) throw new Error(fault);
  const s3 = await startS3Server({ after });
  const proxy = await startFaultProxy({ after }, s3.endpoint);
  const direct = createRepository(openStore(s3));
  const faulty = createRepository(openStore(s3, '', proxy.endpoint));
  const root = path.join(scratch, 'contents');
  mkdirSync(root);
  const shape = { label: CHURN, rank: 8, targets: ['q_proj', 'v_proj'] } as const;
  const contents = writeAdapters(root, readDecoder(model), { shape, count: CONTENTS, seed: 50 });
  const to = { tenant: SHARED_OWNER, name: CHURN };
  /** Version → digest, of publications that said that they are there. */
  const confirmed = new Map<number, string>();
  const publish = async (repository: AdapterRepository, i: number, id: string) => {
    const directory = path.join(root, contents[i % CONTENTS]!);
    const { version, digest } = await repository.publish(to, { directory }, { publicationId: id });
    confirmed.set(version, digest);
  };
  for (let i = 0; i < CONTENTS; i++) await publish(direct, i, `first-${i}`);
  let next = CONTENTS;
  return {
    environment: storeEnvironment(s3, { endpoint: proxy.endpoint }),
    breakSome: () => breakSome(proxy),
    async publishNext() {
      // As a client does that has no answer: the same publication again.
      await publish(faulty, next, `next-${next}`).then(
        () => next++,
        (error: Error) => tell(`publication ${next}: ${error.message}`),
      );
    },
    async check() {
      proxy.script = () => undefined;
      let lost = 0;
      for (const [version, digest] of confirmed) {
        const found = await direct.readManifest(to.tenant, to.name, version);
        if (found?.digest !== digest) lost++;
      }
      return { confirmed: confirmed.size, lost };
    },
  };
}

function breakSome(proxy: FaultProxy): void {
  const random = uniform(20);
  proxy.script = () =>
    random() < FAULTY ? FAULTS[Math.floor(random() * FAULTS.length)] : undefined;
}
