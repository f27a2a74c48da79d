// One bug for each invariant that the world checks, planted around a real piece. A bug that nobody finds means that a check
// does not check.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
import type { FromEngine, ToEngine } from '../../src/scheduler/protocol.ts';
import { RateLimits } from '../../src/tenants/rate-limits.ts';
import type { Machine } from './clock.ts';
import { type Bug, type Parts, replaced } from './parts.ts';

/** A bug, and the invariant that it breaks. */
export interface PlantedBug {
  readonly invariant: string;
  readonly what: string;
  /** A seed that shows it. `--bugs` of the program finds them again. */
  readonly seed: number;
  create(): Bug;
}

const log = createLog('silent');

/** Replaces members of one piece. */
const replacing = <Kind extends keyof Parts>(
  kind: Kind,
  change: (part: Parts[Kind], machine: Machine) => Partial<Parts[Kind]>,
) =>
  ({
    [kind]: (part: Parts[Kind], machine: Machine) => replaced(part, change(part, machine)),
  }) as Bug;

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

const bug = (
  invariant: string,
  { seed, what }: Pick<PlantedBug, 'seed' | 'what'>,
  create: () => Bug,
): PlantedBug => ({ invariant, seed, what, create });

/** Bugs, in the order of their invariants. */
export const PLANTED_BUGS: readonly PlantedBug[] = [
  bug('I01', { seed: 3, what: 'rows decode without their adapter' }, () =>
    replacing('engine', (engine) => ({
      run(batch) {
        if (batch.kind === 'prefill') return engine.run(batch);
        const rows = batch.rows.map((row) => ({ ...row, adapter: undefined }));
        return engine.run({ ...batch, rows });
      },
    })),
  ),
  bug('I02', { seed: 21, what: 'a row that is not finite spoils its batch' }, () =>
    replacing('engine', (engine) => ({ run: async (batch) => spoilAll(await engine.run(batch)) })),
  ),
  bug('I03', { seed: 4, what: 'a slot is not moved' }, () =>
    replacing('engine', () => ({ moveSlot() {} })),
  ),
  bug('I04', { seed: 35, what: 'slots are not zeroed after a failed run' }, () =>
    replacing('engine', () => ({ zeroSlot() {} })),
  ),
  bug('I04', { seed: 98, what: 'a terminated run has damaged the tokens that it found' }, () =>
    replacing('engine', (engine) => ({
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
  ),
  bug('I05', { seed: 10, what: 'the cache forgets its leases at once' }, () =>
    replacing('leases', (cache) => ({
      async lease(...args) {
        const lease = await cache.lease(...args);
        lease.release();
        return lease;
      },
    })),
  ),
  bug('I06', { seed: 17, what: 'unused adapters stay in their slots' }, () =>
    replacing('engine', () => ({ detachAdapter() {} })),
  ),
  bug('I07', { seed: 4, what: 'the last token of a sequence is lost' }, () =>
    eventsBug((events) =>
      events.filter(({ type }, i) => type !== 'token' || events[i + 1]?.type !== 'finished'),
    ),
  ),
  bug('I08', { seed: 4, what: 'a name that is not found is never answered' }, () =>
    replacing('registry', (registry) => ({
      resolve: (...args) => registry.resolve(...args).catch(() => new Promise(() => {})),
    })),
  ),
  bug('I09', { seed: 5, what: 'all reserved tokens are given back' }, () =>
    replacing('limits', (limits) => ({
      begin(tenant) {
        const reservation = limits.begin(tenant);
        return { ...reservation, end: () => reservation.end(0) };
      },
    })),
  ),
  bug('I10', { seed: 5, what: 'a revoked key is still known' }, () => {
    const known = new Map<string, ReturnType<Parts['keys']['find']>>();
    return replacing('keys', (keys) => ({
      find(key) {
        const found = keys.find(key) ?? known.get(key);
        if (found) known.set(key, found);
        return found;
      },
    }));
  }),
  bug('I10', { seed: 4, what: 'a name that is not found is looked up as another tenant' }, () =>
    replacing('registry', (registry) => ({
      resolve: (tenant, model, choice) =>
        registry
          .resolve(tenant, model, choice)
          .catch(() => registry.resolve({ ...tenant, id: 'a' }, model, choice)),
    })),
  ),
  bug('I11', { seed: 2, what: 'each request fetches for itself' }, () => {
    const { store, objects } = watchedStore();
    const folder = mkdtempSync(path.join(os.tmpdir(), 'lorikeet-bug-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    const adapters = replacing('localAdapters', (_, clock) => ({
      acquire(...args) {
        const root = mkdtempSync(path.join(folder, 'disk-'));
        const disks = [new DiskTier({ root, capacityBytes: 2 ** 20, isTemporary: true })];
        const fetcher = new Fetcher({ store: objects(), log, clock });
        return new LocalAdapters({ fetcher, disks, clock }).acquire(...args);
      },
    }));
    return { store, ...adapters };
  }),
  bug('I12', { seed: 17, what: 'an adapter is loaded within a step' }, () =>
    replacing('engine', (engine, clock) => ({
      async attachAdapter(weights) {
        await sleep(40, { clock });
        return engine.attachAdapter(weights);
      },
    })),
  ),
  bug('I15', { seed: 1, what: 'a sequence waits for the next message' }, () => {
    const held: (() => void)[] = [];
    return {
      handle: (handle) => (message) => {
        for (const release of held.splice(0)) release();
        if (message.type === 'submit') held.push(() => handle(message));
        else handle(message);
      },
    };
  }),
  bug('I16', { seed: 5, what: 'the queue has no limit' }, () => ({
    admission: () => ({ maxWaiting: 1000 }),
  })),
  bug('I17', { seed: 104, what: 'nobody remembers the newest aliases' }, () => {
    const { store, objects } = watchedStore();
    const repository = replacing('repository', (_, clock) => ({
      readAliases: (...args) =>
        createRepository(objects(), { clock, now: clock.date }).readAliases(...args),
    }));
    return { store, ...repository };
  }),
  bug('I18', { seed: 1, what: 'the store forgets the weights of a version' }, () =>
    replacing('store', (store) => ({
      async put(key, source, options) {
        if (!key.endsWith('.safetensors')) return store.put(key, source, options);
        return { key, byteSize: 1, etag: 'none' };
      },
    })),
  ),
  bug('I19', { seed: 32, what: 'garbage is collected without a period of grace' }, () =>
    replacing('repository', (repository) => ({
      collectGarbage: (options) => repository.collectGarbage({ ...options, graceMs: -1 }),
    })),
  ),
  bug('I20', { seed: 2, what: 'a resumed run begins with another state' }, () =>
    replacing('runner', (runner) => ({
      run(request, stop) {
        if (request.isResume) forgetState(request.runDir);
        return runner.run(request, stop);
      },
    })),
  ),
  bug('I21', { seed: 49, what: 'an abort takes its time' }, () => lateBug('abort', 10_000)),
  bug('I22', { seed: 9, what: 'a drain takes its time' }, () => lateBug('drain', 1_000)),
  bug('I23', { seed: 20, what: 'prefixes of all tenants are one' }, () =>
    replacing('engine', (engine) => {
      const prefixes = engine.prefixes!;
      return {
        prefixes: replaced(prefixes, {
          chainOf: (user, ids) => prefixes.chainOf({ ...user, scope: 'all' }, ids),
        }),
      };
    }),
  ),
  bug('I24', { seed: 4, what: 'minutes are those of a clock that jumps' }, () => ({
    limits: (_limits, machine) => new RateLimits(machine.date),
  })),
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
