// Many publishers that change the same names and die between any two of their calls to the store, and servers that follow them,
// in virtual time. A server's answer must have been true at some moment of the last poll interval.
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import { type AdapterName, type Aliases, LATEST, pointerOf } from '../../adapters/repository/manifest.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { createLog } from '../../src/common/log.ts';
import { every, sleep } from '../../src/common/waiting.ts';
import { wrapStore } from '../adapters/store/wrapped-store.ts';
import { temporaryFolder } from '../fixtures.ts';
import { writeAdapter } from './adapters.ts';
import { type Machine, VirtualTime } from './clock.ts';
import { replaceNodeCalls } from './node-calls.ts';
import { bytesOf, VirtualStore } from './store.ts';

export const POLL_MS = 2000;
/** A store's answers to a poll and to the reads that follow from it. */
const ANSWERS_MS = 1000;
const READER_MS = 200;
const PUBLISHER_MS = 1000;
const LOOK_MS = 900;
const CHAOS_MS = 60_000;
/** The mean time between two changes of a publisher. */
const CHANGE_MS = 20_000;
/** The beginnings and ends of the calls of a change. */
const MAX_MOMENTS = 40;
/** Announcements are removed by then. */
const SETTLED_MS = 420_000;
const CODES = 12;
const log = createLog('silent');

export interface PublishersOptions {
  readonly seed: number;
  readonly publishers: number;
  readonly names: readonly string[];
  readonly tenants: readonly string[];
  /** The share of publishers that are killed. */
  readonly deaths: number;
}

/** What a run has found. */
export interface PublishersOutcome {
  readonly faults: readonly string[];
  /** Changes that ended with an error although their publisher was alive. */
  readonly failures: readonly string[];
  /** Announcements that are left in the store. */
  readonly announcements: number;
  readonly deaths: number;
}

/** The version that `latest` leads to, by time. */
type History = { readonly atMs: number; readonly version: number | undefined }[];

/** Runs the publishers for two minutes, then the servers alone until announcements are gone. */
export async function simulatePublishers(options: PublishersOptions): Promise<PublishersOutcome> {
  const { seed, publishers, tenants, names } = options;
  replaceNodeCalls(seed);
  const time = new VirtualTime();
  const store = new VirtualStore(time, { trace() {}, violated() {} });
  const truth = watchAliases(store, time);
  const keys = tenants.flatMap((tenant) => names.map((name) => ({ tenant, name })));
  const folders = Array.from({ length: CODES }, (_, i) => {
    const directory = temporaryFolder();
    writeAdapter(directory, i + 1);
    return directory;
  });
  const faults: string[] = [];
  const failures: string[] = [];
  let deaths = 0;

  const act = async (seedOfOne: number) => {
    const machine = time.machine(seedOfOne);
    const dying = machine.random() < options.deaths;
    let left = dying ? machine.draw(MAX_MOMENTS) : Number.POSITIVE_INFINITY;
    const dies = () => {
      if (left-- > 0 || machine.isDead) return;
      deaths++;
      machine.kill();
    };
    const objects = mortal(distant(store, machine, PUBLISHER_MS), dies);
    const failure = await changeOne(machine, objects, { keys, folders });
    if (failure !== undefined) failures.push(failure);
  };
  for (let i = 0; i < publishers; i++) {
    const machine = time.machine(seed * 1000 + i);
    const next = () => {
      if (machine.now() > CHAOS_MS) return;
      void act(machine.draw(2 ** 31));
      machine.schedule(machine.random() * 2 * CHANGE_MS, next);
    };
    next();
  }

  const readers = [0, 1].map((i) => openReader(time.machine(seed * 1000 + 900 + i), store));
  for (const { adapters, machine } of readers) {
    const look = async (key: AdapterName) => {
      const startMs = machine.now();
      const seen = await latestOf(adapters, key);
      if (!wasTrue(truth, key, seen, [startMs - POLL_MS - ANSWERS_MS, machine.now()]))
        faults.push(`find ${key.tenant}/${key.name} gave ${seen} at ${machine.now()}`);
    };
    const lookAtList = async (tenant: string) => {
      const startMs = machine.now();
      const { names: listed } = await adapters.page(tenant, { from: '', limit: 1000 });
      for (const name of names) {
        const entry = listed.find((one) => one.name === name)?.entry;
        const pointer = entry && pointerOf(entry.aliases, LATEST);
        const seen = pointer && 'version' in pointer ? pointer.version : undefined;
        if (!wasTrue(truth, { tenant, name }, seen, [startMs - POLL_MS - ANSWERS_MS, machine.now()]))
          faults.push(`list ${tenant}/${name} gave ${seen} at ${machine.now()}`);
      }
    };
    every(
      LOOK_MS,
      () => {
        for (const key of keys) void look(key);
        for (const tenant of tenants) void lookAtList(tenant);
      },
      machine,
    );
  }
  await time.runFor(CHAOS_MS + SETTLED_MS);
  for (const { machine } of readers) machine.kill();

  const late = openReader(time.machine(seed * 1000 + 999), store);
  let lists = 0;
  for (const tenant of tenants) {
    void late.adapters.page(tenant, { from: '', limit: 1000 }).then(({ names: listed }) => {
      lists++;
      for (const name of names) {
        const entry = listed.find((one) => one.name === name)?.entry;
        const pointer = entry && pointerOf(entry.aliases, LATEST);
        const seen = pointer && 'version' in pointer ? pointer.version : undefined;
        const now = [time.nowMs, time.nowMs] as const;
        if (!wasTrue(truth, { tenant, name }, seen, now))
          faults.push(`a late server lists ${tenant}/${name} with ${seen}`);
      }
    });
  }
  await time.runFor(60_000);
  if (lists < tenants.length) faults.push('a late server has no list');
  let announcements = 0;
  for await (const _ of store.raw.list('.changes/')) announcements++;
  return { faults, failures, announcements, deaths };
}

/** Makes one change as a process of its own. Resolves with the error if somebody else is to blame. */
async function changeOne(
  machine: Machine,
  objects: ObjectStore,
  { keys, folders }: { keys: readonly AdapterName[]; folders: readonly string[] },
): Promise<string | undefined> {
  const repository = createRepository(objects, { log, now: machine.date, clock: machine });
  const key = keys[machine.draw(keys.length)]!;
  const directory = folders[machine.draw(folders.length)]!;
  const changes = [
    () => repository.publish(key, { directory }),
    () => repository.publish(key, { directory }),
    () => repository.moveAlias(key, LATEST, { version: 1 + machine.draw(3) }),
    () => repository.rollback(key, LATEST),
    () => repository.removeName(key),
  ];
  try {
    await changes[machine.draw(changes.length)]!();
    return undefined;
  } catch (error) {
    const { status, message } = error as { status?: number; message: string };
    return status === 400 || status === 404 ? undefined : message; // there is no such version
  }
}

/** The store behind a line that takes up to `ms` milliseconds each way. */
function distant(store: VirtualStore, machine: Machine, ms: number): ObjectStore {
  const travel = () => sleep(machine.random() * ms, { clock: machine });
  return wrapStore(store.connect(machine, 'distant'), async (work) => {
    await travel();
    const outcome = await work();
    await travel();
    return outcome;
  });
}

/** A store that tells when a call begins and ends, so that its user can die there. */
function mortal(inner: ObjectStore, dies: () => void): ObjectStore {
  return wrapStore(inner, async (work) => {
    dies();
    const outcome = await work();
    dies();
    return outcome;
  });
}

function openReader(machine: Machine, store: VirtualStore) {
  const repository = createRepository(distant(store, machine, READER_MS), {
    log,
    now: machine.date,
    clock: machine,
  });
  return { machine, adapters: new StoreAdapters(repository, { pollMs: POLL_MS, clock: machine, log }) };
}

async function latestOf(
  adapters: StoreAdapters,
  { tenant, name }: AdapterName,
): Promise<number | undefined> {
  const named = { name, selector: { kind: 'alias', alias: LATEST } } as const;
  try {
    const { location } = (await adapters.find(tenant, named, {}))?.part ?? {};
    return location?.kind === 'version' ? location.manifest.version : undefined;
  } catch (error) {
    // The alias that was read a moment ago leads to a version that is removed by now.
    if ((error as { code?: string }).code === 'adapter_unavailable') return undefined;
    throw error;
  }
}

/** Records where `latest` leads after every write. */
function watchAliases(store: VirtualStore, time: VirtualTime): Map<string, History> {
  const truth = new Map<string, History>();
  store.onChange = async (_op, key) => {
    if (!key.endsWith('/alias.json')) return;
    const bytes = await bytesOf((await store.raw.get(key))!.body);
    const { tenant, name, aliases } = JSON.parse(Buffer.from(bytes).toString()) as Aliases;
    const pointer = pointerOf(aliases, LATEST);
    const version = pointer && 'version' in pointer ? pointer.version : undefined;
    const history = truth.get(`${tenant}/${name}`) ?? [];
    truth.set(`${tenant}/${name}`, [...history, { atMs: time.nowMs, version }]);
  };
  return truth;
}

function wasTrue(
  truth: ReadonlyMap<string, History>,
  { tenant, name }: AdapterName,
  seen: number | undefined,
  [fromMs, toMs]: readonly [number, number],
): boolean {
  const history: History = [
    { atMs: Number.NEGATIVE_INFINITY, version: undefined },
    ...(truth.get(`${tenant}/${name}`) ?? []),
  ];
  return history.some(({ atMs, version }, i) => {
    const untilMs = history[i + 1]?.atMs ?? Number.POSITIVE_INFINITY;
    return version === seen && atMs <= toMs && untilMs >= fromMs;
  });
}
