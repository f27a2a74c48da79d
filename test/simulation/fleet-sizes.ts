// What a fleet asks of its store, in virtual time: servers that use many names while aliases move, that scan for jobs and
// batches, and that write what their tenants use. Only the store's calls are counted, so engines and files are left out.
import path from 'node:path';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import { createRepository } from '../../adapters/repository/repository.ts';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { createMemoryStore } from '../../adapters/store/memory.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { createBatches } from '../../src/batches/create-batches.ts';
import { createLog } from '../../src/common/log.ts';
import { every } from '../../src/common/waiting.ts';
import { createChildRunner } from '../../src/jobs/child-runner.ts';
import { createJobs } from '../../src/jobs/create-jobs.ts';
import { UsageArchive } from '../../src/usage/usage-archive.ts';
import { UsageRecorder } from '../../src/usage/usage-recorder.ts';
import { createPublished, watchStore } from '../adapters/published.ts';
import { temporaryFolder } from '../fixtures.ts';
import { type Machine, VirtualTime } from './clock.ts';

const POLL_MS = 2000;
const TENANTS = 10;
/** S3 lists this many keys per request. */
const PAGE_KEYS = 1000;
const log = createLog('silent');

/** Calls by the classes of S3's price list. */
interface Calls {
  /** PUT and LIST. */
  writes: number;
  /** GET and HEAD. DELETE is free. */
  reads: number;
}

interface FleetSize {
  readonly servers: number;
  /** Names that each server uses every second. */
  readonly names: number;
  readonly seconds: number;
  /** Time between two moves of an alias, anywhere in the fleet. */
  readonly changeMs: number;
  /** Time before the calls are counted. */
  readonly warmUpMs?: number;
}

interface FleetCost {
  /** Calls of a server per second, on average. */
  readonly perServer: Calls;
  /** The longest time from a move of an alias until a server that uses it follows. */
  readonly slowestMs: number;
}

function counted(inner: ObjectStore, calls: Calls): ObjectStore {
  const count = (kind: keyof Calls) => {
    calls[kind]++;
    return inner;
  };
  return {
    label: inner.label,
    get: (key, call) => count('reads').get(key, call),
    head: (key, call) => count('reads').head(key, call),
    put: (key, source, options) => count('writes').put(key, source, options),
    delete: (key, call) => inner.delete(key, call),
    async *list(prefix, options) {
      let keys = 0;
      for await (const entry of count('writes').list(prefix, options)) {
        if (keys > 0 && keys % PAGE_KEYS === 0) count('writes');
        keys++;
        yield entry;
      }
    },
  };
}

/** A server's parts that use the store. */
function openServer(inner: ObjectStore, machine: Machine, i: number) {
  const calls: Calls = { writes: 0, reads: 0 };
  const store = counted(inner, calls);
  const { date: now } = machine;
  const repository = createRepository(store, { log, now, clock: machine });
  const adapters = new StoreAdapters(repository, { pollMs: POLL_MS, clock: machine, log });
  const root = temporaryFolder();
  const common = {
    store,
    log,
    now,
    clock: machine,
    owner: { name: `server-${i}`, isGone: () => false },
  };
  const jobs = createJobs({
    ...common,
    repository,
    runner: createChildRunner({ log, entry: new URL('file:///none') }),
    base: { name: 'toy', digest: 'b'.repeat(64), dir: root },
    root,
    dryRunRoot: path.join(root, 'dry-runs'),
    limits: { maxFiles: 1, maxFilesBytes: 1, maxActive: 1, maxTraining: 1 },
    onPublished() {},
  });
  const batches = createBatches({
    ...common,
    files: jobs.files,
    base: 'b'.repeat(64),
    root,
    maxActive: 1,
    maxLines: 1,
    maxRunning: 1,
    maxInFlight: () => 1,
    answer: () => Promise.reject(new Error('there is no batch')),
    tenantOf: () => undefined,
  });
  const archive = new UsageArchive({ store: guardStore(store) }, now);
  const recorder = new UsageRecorder({ archive, server: i.toString(16), now });
  every(30_000, () => void recorder.flush(), machine);
  jobs.worker.start();
  batches.worker.start();
  return { calls, adapters, recorder, machine };
}

type Server = ReturnType<typeof openServer>;

async function use(server: Server, tenant: string, name: string): Promise<number | undefined> {
  const named = { name, selector: { kind: 'alias', alias: 'latest' } } as const;
  const found = await server.adapters.find(tenant, named, {});
  const { location } = found?.part ?? {};
  server.recorder.add({
    tenant,
    model: name,
    isBatch: false,
    inputTokens: 1,
    cachedTokens: 0,
    outputTokens: 1,
  });
  return location?.kind === 'version' ? location.manifest.version : undefined;
}

/** Runs a fleet, and counts its calls after a while. Without names, its servers are idle. */
export async function simulateFleet({
  servers: count,
  names,
  seconds,
  changeMs,
  warmUpMs = 60_000,
}: FleetSize): Promise<FleetCost> {
  const time = new VirtualTime();
  const store = createMemoryStore({ now: () => time.date });
  const all = Array.from(
    { length: names },
    (_, i) => [`tenant-${i % TENANTS}`, `name-${i}`] as const,
  );
  const { publish } = createPublished(watchStore(store));
  for (const [tenant, name] of all) {
    await publish(tenant, name);
    await publish(tenant, name);
  }
  const servers = Array.from({ length: count }, (_, i) => openServer(store, time.machine(i), i));
  const versions = new Map(
    all.map(([tenant, name]) => [`${tenant}/${name}`, { version: 2, sinceMs: 0 }]),
  );
  let slowestMs = 0;
  for (const server of servers) {
    every(
      1000,
      () => {
        for (const [tenant, name] of all) {
          void use(server, tenant, name).then((version) => {
            const latest = versions.get(`${tenant}/${name}`)!;
            if (version !== latest.version)
              slowestMs = Math.max(slowestMs, time.nowMs - latest.sinceMs);
          });
        }
      },
      server.machine,
    );
  }
  const operator = time.machine(count);
  const repository = createRepository(store, { log, now: operator.date, clock: operator });
  let turn = 0;
  if (names > 0) {
    every(
      changeMs,
      () => {
        const [tenant, name] = all[turn++ % all.length]!;
        const latest = versions.get(`${tenant}/${name}`)!;
        const version = 3 - latest.version;
        void repository.moveAlias({ tenant, name }, 'latest', { version }).then(() => {
          Object.assign(latest, { version, sinceMs: time.nowMs });
        });
      },
      operator,
    );
  }
  await time.runFor(warmUpMs);
  for (const { calls } of servers) Object.assign(calls, { writes: 0, reads: 0 });
  slowestMs = 0;
  await time.runFor(seconds * 1000);
  const mean = (kind: keyof Calls) =>
    servers.reduce((sum, { calls }) => sum + calls[kind], 0) / count / seconds;
  for (const { machine } of [...servers, { machine: operator }]) machine.kill();
  return { perServer: { writes: mean('writes'), reads: mean('reads') }, slowestMs };
}
