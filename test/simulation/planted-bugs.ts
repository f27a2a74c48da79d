// One bug for each invariant that the world checks, planted around a real piece. A bug that nobody finds means that a check
// does not check.

import { mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRepository } from '../../adapters/repository/repository.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { DiskTier } from '../../adapters/tiers/disk.ts';
import { Fetcher } from '../../adapters/tiers/fetcher.ts';
import { LocalAdapters } from '../../adapters/tiers/local-adapters.ts';
import { createLog } from '../../src/common/log.ts';
import { sleep } from '../../src/common/waiting.ts';
import type { BatchResult, SlotId } from '../../src/engine/batch.ts';
import type { StepEngine } from '../../src/scheduler/options.ts';
import type { FromEngine, ToEngine } from '../../src/scheduler/protocol.ts';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import { type Bug, replaced } from './parts.ts';

/** A bug, and the invariant that it breaks. */
export interface PlantedBug {
  readonly invariant: string;
  readonly what: string;
  /** A seed that shows it. `--bugs` of the program finds them again. */
  readonly seed: number;
  create(): Bug;
}

const log = createLog('silent');

const engineBug = (change: (engine: StepEngine) => Partial<StepEngine>): Bug => ({
  engine: (engine) => replaced(engine, change(engine)),
});

/** Handles one kind of message late. */
const lateBug = (type: ToEngine['type'], ms: number): Bug => ({
  handle: (handle, machine) => (message) => {
    if (message.type === type) machine.schedule(ms, () => handle(message));
    else handle(message);
  },
});

/** Changes the events of each step. */
const eventsBug = (
  change: (events: Extract<FromEngine, { type: 'step' }>['events']) => typeof events,
): Bug => ({
  post: (post) => (message) =>
    post(message.type === 'step' ? { ...message, events: change(message.events) } : message),
});

/** Bugs, in the order of their invariants. */
export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    invariant: 'I01',
    what: 'rows decode without their adapter',
    seed: 3,
    create: () =>
      engineBug((engine) => ({
        run(batch) {
          if (batch.kind === 'prefill') return engine.run(batch);
          const rows = batch.rows.map((row) => ({ ...row, adapter: undefined }));
          return engine.run({ ...batch, rows });
        },
      })),
  },
  {
    invariant: 'I02',
    what: 'a row that is not finite spoils its batch',
    seed: 21,
    create: () =>
      engineBug((engine) => ({ run: async (batch) => spoilAll(await engine.run(batch)) })),
  },
  {
    invariant: 'I03',
    what: 'a slot is not moved',
    seed: 4,
    create: () => engineBug(() => ({ moveSlot() {} })),
  },
  {
    invariant: 'I04',
    what: 'slots are not zeroed after a failed run',
    seed: 35,
    create: () => engineBug(() => ({ zeroSlot() {} })),
  },
  {
    invariant: 'I04',
    what: 'a terminated run has damaged the tokens that it found',
    seed: 98,
    create: () =>
      engineBug((engine) => ({
        async run(batch) {
          try {
            return await engine.run(batch);
          } catch (error) {
            const rows = batch.kind === 'decode' ? batch.rows : [];
            for (const [i, { pastLength }] of rows.entries())
              await engine.moveSlot(i as SlotId, i as SlotId, pastLength - 1);
            throw error;
          }
        },
      })),
  },
  {
    invariant: 'I05',
    what: 'the cache forgets its leases at once',
    seed: 10,
    create: () => ({
      leases: (cache) =>
        replaced(cache, {
          async lease(...args) {
            const lease = await cache.lease(...args);
            lease.release();
            return lease;
          },
        }),
    }),
  },
  {
    invariant: 'I06',
    what: 'unused adapters stay in their slots',
    seed: 17,
    create: () => engineBug(() => ({ detachAdapter() {} })),
  },
  {
    invariant: 'I07',
    what: 'the last token of a sequence is lost',
    seed: 4,
    create: () =>
      eventsBug((events) =>
        events.filter(({ type }, i) => type !== 'token' || events[i + 1]?.type !== 'finished'),
      ),
  },
  {
    invariant: 'I08',
    what: 'a name that is not found is never answered',
    seed: 4,
    create: () => ({
      registry: (registry) =>
        replaced(registry, {
          resolve: (...args) => registry.resolve(...args).catch(() => new Promise(() => {})),
        }),
    }),
  },
  {
    invariant: 'I09',
    what: 'all reserved tokens are given back',
    seed: 5,
    create: () => ({
      limits: (limits) =>
        replaced(limits, {
          begin(tenant) {
            const reservation = limits.begin(tenant);
            return { ...reservation, end: () => reservation.end(0) };
          },
        }),
    }),
  },
  {
    invariant: 'I10',
    what: 'a revoked key is still known',
    seed: 5,
    create: () => {
      const known = new Map<string, ReturnType<Parameters<NonNullable<Bug['keys']>>[0]['find']>>();
      return {
        keys: (keys) =>
          replaced(keys, {
            find(key) {
              const found = keys.find(key) ?? known.get(key);
              if (found) known.set(key, found);
              return found;
            },
          }),
      };
    },
  },
  {
    invariant: 'I10',
    what: 'a name that is not found is looked up as another tenant',
    seed: 4,
    create: () => ({
      registry: (registry) =>
        replaced(registry, {
          resolve: (tenant, model, choice) =>
            registry
              .resolve(tenant, model, choice)
              .catch(() => registry.resolve({ ...tenant, id: 'a' }, model, choice)),
        }),
    }),
  },
  {
    invariant: 'I11',
    what: 'each request fetches for itself',
    seed: 2,
    create: () => {
      const { store, objects } = watchedStore();
      return {
        store,
        localAdapters: (adapters, clock) =>
          replaced(adapters, {
            acquire(...args) {
              const root = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-bug-'));
              const disks = [new DiskTier({ root, capacityBytes: 2 ** 20, isTemporary: true })];
              const fetcher = new Fetcher({ store: objects(), log, clock });
              return new LocalAdapters({ fetcher, disks, clock }).acquire(...args);
            },
          }),
      };
    },
  },
  {
    invariant: 'I12',
    what: 'an adapter is loaded within a step',
    seed: 17,
    create: () => ({
      engine: (engine, clock) =>
        replaced(engine, {
          async attachAdapter(weights) {
            await sleep(40, { clock });
            return engine.attachAdapter(weights);
          },
        }),
    }),
  },
  {
    invariant: 'I15',
    what: 'a sequence waits for the next message',
    seed: 1,
    create: () => {
      const held: (() => void)[] = [];
      return {
        handle: (handle) => (message) => {
          for (const release of held.splice(0)) release();
          if (message.type === 'submit') held.push(() => handle(message));
          else handle(message);
        },
      };
    },
  },
  {
    invariant: 'I16',
    what: 'the queue has no limit',
    seed: 5,
    create: () => ({ admission: () => ({ maxWaiting: 1000 }) }),
  },
  {
    invariant: 'I17',
    what: 'nobody remembers the newest aliases',
    seed: 104,
    create: () => {
      const { store, objects } = watchedStore();
      return {
        store,
        repository: (repository, clock) =>
          replaced(repository, {
            readAliases: (...args) =>
              createRepository(objects(), { clock, now: clock.date }).readAliases(...args),
          }),
      };
    },
  },
  {
    invariant: 'I18',
    what: 'the store forgets the weights of a version',
    seed: 1,
    create: () => ({
      store: (store) =>
        replaced(store, {
          async put(key, source, options) {
            if (!key.endsWith('.safetensors')) return store.put(key, source, options);
            return { key, byteSize: 1, etag: 'none' };
          },
        }),
    }),
  },
  {
    invariant: 'I19',
    what: 'garbage is collected without a period of grace',
    seed: 32,
    create: () => ({
      repository: (repository) =>
        replaced(repository, {
          collectGarbage: (options) => repository.collectGarbage({ ...options, graceMs: -1 }),
        }),
    }),
  },
  {
    invariant: 'I20',
    what: 'a resumed run begins with another state',
    seed: 2,
    create: () => ({
      runner: (runner) =>
        replaced(runner, {
          run(request, stop) {
            if (request.isResume) forgetState(request.runDir);
            return runner.run(request, stop);
          },
        }),
    }),
  },
  {
    invariant: 'I21',
    what: 'an abort takes its time',
    seed: 49,
    create: () => lateBug('abort', 10_000),
  },
  {
    invariant: 'I22',
    what: 'a drain takes its time',
    seed: 9,
    create: () => lateBug('drain', 1_000),
  },
  {
    invariant: 'I23',
    what: 'prefixes of all tenants are one',
    seed: 20,
    create: () =>
      engineBug((engine) => {
        const prefixes = engine.prefixes!;
        return {
          prefixes: replaced(prefixes, {
            chainOf: (user, ids) => prefixes.chainOf({ ...user, scope: 'all' }, ids),
          }),
        };
      }),
  },
  {
    invariant: 'I24',
    what: 'minutes are those of a clock that jumps',
    seed: 4,
    create: () => ({ limits: (_limits, machine) => new RateLimits(machine.date) }),
  },
];

function spoilAll(result: BatchResult): BatchResult {
  const isSpoilt = result.rows.some((rows) => rows.some(({ ok }) => !ok));
  if (!isSpoilt) return result;
  return { ...result, rows: result.rows.map(() => [{ ok: false, reason: 'non_finite' }]) };
}

function forgetState(runDir: string): void {
  for (const step of [2, 4, 6]) {
    const file = path.join(runDir, 'checkpoints', `step-${step}`, 'state.safetensors');
    try {
      writeFileSync(file, 'state 1', { flag: 'r+' });
    } catch {
      // there is no such checkpoint
    }
  }
}

/** Leaves the store as it is, and returns it later. */
function watchedStore() {
  let objects: ObjectStore | undefined;
  const store = (given: ObjectStore) => {
    objects = given;
    return given;
  };
  return { store, objects: () => objects! };
}
