// Many publishers that change the same names and die between any two of their calls to the store, and servers that follow them,
// in virtual time. A server's answer must have been true at some moment of the last poll interval.
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import {
  type AdapterName,
  type Aliases,
  LATEST,
  pointerOf,
} from '../../adapters/repository/manifest.ts';
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

const POLL_MS = 2000;
/** A store's answers to a poll and to the reads that follow from it. */
const ANSWERS_MS = 1000;
const READER_MS = 200;
const PUBLISHER_MS = 1000;
const LOOK_MS = 900;
const EARLY_MS = 15_000;
const CHAOS_MS = 60_000;
/** The mean time between two changes of a publisher. */
const CHANGE_MS = 20_000;
/** The beginnings and ends of the calls of a change. */
const MAX_MOMENTS = 40;
/** Announcements are removed by then. */
const SETTLED_MS = 420_000;
/** Adapters to publish. */
const CODES = 12;
const TENANT = 'acme';
const log = createLog('silent');

interface PublishersOptions {
  readonly seed: number;
  readonly publishers: number;
  readonly names: number;
  /** The share of publishers that are killed. */
  readonly deaths: number;
}

/** What a run has found. */
interface PublishersOutcome {
  readonly faults: readonly string[];
  /** Changes that ended with an error although their publisher was alive. */
  readonly failures: readonly string[];
  /** Announcements that are left in the store. */
  readonly announcements: number;
  readonly deaths: number;
}

/** The version that `latest` leads to, by time. */
type History = { readonly atMs: number; readonly version: number | undefined }[];
/** Virtual times, in milliseconds. */
type Span = readonly [fromMs: number, toMs: number];
type Reader = ReturnType<typeof openReader>;

/** Runs the publishers for a minute, then the servers alone until announcements are gone. */
export async function simulatePublishers(options: PublishersOptions): Promise<PublishersOutcome> {
  const { seed, publishers, names } = options;
  replaceNodeCalls(seed);
  const time = new VirtualTime();
  const store = new VirtualStore(time, { trace() {}, violated() {} });
  const truth = watchAliases(store, time);
  const keys = Array.from({ length: names }, (_, i) => ({ tenant: TENANT, name: `name-${i}` }));
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

  const check = (where: string, key: AdapterName, seen: number | undefined, span: Span) => {
    if (wasTrue(truth, key, seen, span)) return;
    faults.push(`${where} ${key.tenant}/${key.name}: ${seen} at ${span[1]} ms`);
  };
  const lookAt = async ({ adapters, machine }: Reader, key: AdapterName) => {
    const fromMs = machine.now() - POLL_MS - ANSWERS_MS;
    const seen = await latestOf(adapters, key);
    check('find', key, seen, [fromMs, machine.now()]);
  };
  const lookAtList = async ({ adapters, machine }: Reader, fromMs: number) => {
    const { names: listed } = await adapters.page(TENANT, { from: '', limit: keys.length });
    for (const key of keys) {
      const entry = listed.find(({ name }) => name === key.name)?.entry;
      check('list', key, entry && versionOf(entry), [fromMs, machine.now()]);
    }
  };

  await time.runFor(EARLY_MS); // the first list finds some names and stores an index
  const readers = [900, 901].map((i) => openReader(time.machine(seed * 1000 + i), store));
  for (const reader of readers) {
    const look = () => {
      for (const key of keys) void lookAt(reader, key);
      void lookAtList(reader, time.nowMs - POLL_MS - ANSWERS_MS);
    };
    every(LOOK_MS, look, reader.machine);
  }
  await time.runFor(CHAOS_MS + SETTLED_MS);
  for (const { machine } of readers) machine.kill();

  const late = lookAtList(openReader(time.machine(seed * 1000 + 999), store), time.nowMs);
  await time.runFor(60_000);
  await late;
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
  return {
    machine,
    adapters: new StoreAdapters(repository, { pollMs: POLL_MS, clock: machine, log }),
  };
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

/** The version that `latest` leads to. */
function versionOf({ aliases }: Pick<Aliases, 'aliases'>): number | undefined {
  const pointer = pointerOf(aliases, LATEST);
  return pointer && 'version' in pointer ? pointer.version : undefined;
}

/** Records where `latest` leads after every write. */
function watchAliases(store: VirtualStore, time: VirtualTime): Map<string, History> {
  const truth = new Map<string, History>();
  store.onChange = async (_op, key) => {
    if (!key.endsWith('/alias.json')) return;
    const bytes = await bytesOf((await store.raw.get(key))!.body);
    const { tenant, name, aliases } = JSON.parse(Buffer.from(bytes).toString()) as Aliases;
    const version = versionOf({ aliases });
    const history = truth.get(`${tenant}/${name}`) ?? [];
    truth.set(`${tenant}/${name}`, [...history, { atMs: time.nowMs, version }]);
  };
  return truth;
}

function wasTrue(
  truth: ReadonlyMap<string, History>,
  { tenant, name }: AdapterName,
  seen: number | undefined,
  [fromMs, toMs]: Span,
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
