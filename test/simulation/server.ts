// A server of the world, from the real pieces: keys, limits, registry, fetches to disk, engine client, supervisor and jobs. The
// clock, the store, the child process and the trainer are virtual.
import * as nodeFiles from 'node:fs/promises';
import path from 'node:path';
import { Registry } from '../../adapters/registry/registry.ts';
import { StoreAdapters } from '../../adapters/registry/store-registry.ts';
import { type AdapterRepository, createRepository } from '../../adapters/repository/repository.ts';
import { type DiskFiles, DiskTier } from '../../adapters/tiers/disk.ts';
import { Fetcher } from '../../adapters/tiers/fetcher.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import { EngineClient } from '../../src/engine-client/client.ts';
import { Supervisor } from '../../src/engine-client/supervisor.ts';
import { prefetchAdapter } from '../../src/http/request/prefetch.ts';
import { createJobs, type Jobs } from '../../src/jobs/create-jobs.ts';
import type { JobRunner } from '../../src/jobs/runner.ts';
import { createKeyDigest } from '../../src/tenants/api-key.ts';
import { WatchedKeys } from '../../src/tenants/key-ring.ts';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import type { Machine, VirtualTime } from './clock.ts';
import { ENGINE } from './engine.ts';
import { type Bug, type Parts, type Reporter, withBug } from './parts.ts';
import { EngineProcess } from './process.ts';
import type { VirtualStore } from './store.ts';

/** The base of all servers. */
export const BASE = { id: 'toy', names: [] as string[], digest: 'b'.repeat(64) };
/** How old an alias can be. */
const POLL_MS = 2_000;
/** Room for four adapters. */
const DISK_BYTES = 4 * 3_000;
const ADMISSION = {
  ...{ maxWaiting: 6, maxWaitingPerTenant: 4, maxWaitingTokens: 240 },
  reservedSlots: ENGINE.reservedSlots,
};
const log = createLog('silent');

/** What a server is built from. */
export interface ServerParts {
  readonly time: VirtualTime;
  readonly store: VirtualStore;
  readonly reporter: Reporter;
  readonly bug: Bug;
  readonly name: string;
  readonly seed: number;
  /** Its folder, which outlives it. */
  readonly home: string;
  readonly keysFile: string;
  readonly prefillChunk: number;
  readonly createRunner: (machine: Machine) => JobRunner;
  /** Whether it trains jobs and collects garbage. */
  readonly trains: boolean;
}

/** A server. */
export class Server {
  readonly name: string;
  readonly machine: Machine;
  readonly client: EngineClient;
  readonly registry: Parts['registry'];
  readonly localAdapters: Parts['localAdapters'];
  readonly repository: Parts['repository'];
  readonly published: StoreAdapters;
  readonly limits: Parts['limits'];
  readonly keys: Parts['keys'];
  readonly jobs: Jobs;
  readonly admission = ADMISSION;
  /** The current engine process. */
  process: EngineProcess | undefined;
  /** Rows of earlier processes that were not finite. */
  #nanCount = 0;
  /** It gave up, or was told to end. */
  isOver = false;
  drainedAtMs: number | undefined;
  /** The work of clients that has not ended. */
  busy = 0;
  readonly #parts: ServerParts;
  #starts = 0;

  private constructor(parts: ServerParts, machine: Machine, keys: WatchedKeys) {
    const { store, bug, name, home, trains, createRunner } = parts;
    const use = <Kind extends keyof Parts>(kind: Kind, part: Parts[Kind]) =>
      withBug(bug, kind, part, machine);
    const clock = machine;
    const now = machine.date;
    this.#parts = parts;
    this.name = name;
    this.machine = machine;
    this.keys = use('keys', keys);
    this.limits = use('limits', new RateLimits(machine.now));
    const objects = use('store', store.connect(machine, name));
    const repository = use('repository', createRepository(objects, { log, now, clock }));
    this.repository = repository;
    const disk = new DiskTier({
      root: path.join(home, 'adapters'),
      capacityBytes: DISK_BYTES,
      now,
      files: datedFiles(now),
    });
    this.localAdapters = use(
      'localAdapters',
      new LocalAdapters({
        fetcher: new Fetcher({ store: objects, log, clock }),
        disks: [disk],
        log,
        clock,
      }),
    );
    this.client = new EngineClient(
      (handlers) =>
        new Supervisor(
          {
            entry: new URL('file:///engine'),
            hostOptions: {},
            log,
            onFatal: () => {
              this.isOver = true;
            },
            clock,
            fork: () => this.#startProcess(),
          },
          handlers,
        ),
      log,
      use('admission', ADMISSION),
      clock,
    );
    this.published = new StoreAdapters(repository as AdapterRepository, {
      pollMs: POLL_MS,
      maxRemembered: 50,
      log,
      clock,
      warm: async (part) => {
        const { name: id, digest } = part;
        const { localAdapters, client } = this;
        const deps = { localAdapters: localAdapters as LocalAdapters, client };
        const parts = [{ ...part, weight: 1 }];
        await prefetchAdapter(deps, { kind: 'adapter', id, digest, parts });
      },
    });
    this.registry = use('registry', new Registry({ base: BASE, store: this.published, now }));
    this.jobs = createJobs({
      store: objects,
      repository: repository as AdapterRepository,
      runner: use('runner', createRunner(machine)),
      base: { name: 'toy', digest: BASE.digest, dir: home },
      root: path.join(home, 'jobs'),
      dryRunRoot: path.join(home, 'dry-runs'),
      limits: { maxFiles: 100, maxFilesBytes: 2 ** 20, maxActive: 10, maxTraining: trains ? 1 : 0 },
      log,
      owner: { name: `${name}#${parts.seed}`, isGone: () => false },
      onPublished: (tenant, of) => this.published.forget(tenant, of),
      collectsGarbage: trains,
      now,
      clock,
    });
    this.jobs.worker.start();
  }

  static async start(parts: ServerParts): Promise<Server> {
    const machine = parts.time.machine(parts.seed);
    const digest = createKeyDigest(undefined);
    const options = { digest, log, now: machine.date, clock: machine };
    const keys = (await WatchedKeys.open(parts.keysFile, options))!;
    return new Server(parts, machine, keys);
  }

  /** The rows so far that were not finite. */
  nanCount(): number {
    return this.#nanCount + (this.process?.engine.nanCount ?? 0);
  }

  #startProcess() {
    this.#nanCount = this.nanCount();
    const { time, seed, bug, reporter, prefillChunk } = this.#parts;
    this.process = new EngineProcess({
      time,
      server: this.machine,
      seed: seed * 31 + this.#starts++,
      bug,
      reporter,
      prefillChunk,
    });
    return this.process.child;
  }

  /** Ends at once, as by SIGKILL. */
  kill(): void {
    this.isOver = true;
    this.machine.kill();
    this.process?.machine.kill();
  }

  /** Ends as by SIGTERM. */
  async drain(deadlineMs: number): Promise<void> {
    this.drainedAtMs = this.machine.now();
    await Promise.all([this.client.drain(deadlineMs), this.jobs.worker.close(deadlineMs)]);
    this.isOver = true;
  }
}

/** Node's files, with the times of this machine's clock on folders. */
function datedFiles(now: () => number): DiskFiles {
  const times = new Map<string, number>();
  return {
    ...nodeFiles,
    async rename(from, to) {
      await nodeFiles.rename(from, to);
      times.set(String(to), now());
    },
    async utimes(file, atime, mtime) {
      await nodeFiles.utimes(file, atime, mtime);
      times.set(String(file), Number(mtime) * 1000);
    },
    stat: (async (file: string) => {
      const stats = await nodeFiles.stat(file);
      const mtimeMs = times.get(file);
      if (mtimeMs !== undefined) stats.mtimeMs = mtimeMs;
      return stats;
    }) as DiskFiles['stat'],
  };
}
