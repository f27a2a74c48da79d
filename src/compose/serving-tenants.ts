// Opens the limits and the usage of tenants: what this server counts, and what it shares with other servers through a ledger and
// the store.
import { randomUUID } from 'node:crypto';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { every, orAfter } from '../common/waiting.ts';
import type { AppOptions } from '../http/deps.ts';
import type { Config } from '../settings/config.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { RateLimits } from '../tenants/rate-limits.ts';
import { UsageArchive } from '../usage/usage-archive.ts';
import { UsageRecorder } from '../usage/usage-recorder.ts';

const REPORT_INTERVAL_MS = 1000;
/** A server that is killed loses the usage of this time. A busy one sends two writes per minute. */
const WRITE_INTERVAL_MS = 30_000;
/** How long a stopping server waits for its last write. */
const LAST_WRITE_MS = 3000;

/** The limits and the usage of tenants. */
export interface ServingTenants {
  /** The part that the HTTP side uses. */
  readonly http: Required<Pick<AppOptions, 'rateLimits' | 'usage'>>;
  /** Writes the rest. Never rejects. */
  close(): Promise<void>;
}

/** The parts of a server that this needs. */
interface ServingTenantsOptions {
  readonly store: ObjectStore;
  readonly telemetry: Pick<Telemetry, 'metrics'>;
  readonly log: Logger;
}

/** Opens limits and usage. Waits for neither the store nor the ledger. */
export async function openServingTenants(
  config: Pick<Config, 'ledger'>,
  { store, telemetry, log }: ServingTenantsOptions,
): Promise<ServingTenants> {
  const limits = await openLimits(config, telemetry, log);
  const usage = openUsage(store, log);
  return {
    http: { rateLimits: limits.rateLimits, usage: usage.http },
    async close() {
      await usage.close();
      limits.close();
    },
  };
}

async function openLimits(
  { ledger: url }: Pick<Config, 'ledger'>,
  { metrics }: Pick<Telemetry, 'metrics'>,
  log: Logger,
) {
  const nowMs = () => performance.now();
  if (url === undefined) return { rateLimits: new RateLimits(nowMs), close() {} };
  const { openRedisLedger } = await import('../tenants/redis-ledger.ts');
  const ledger = openRedisLedger(url, log, nowMs);
  const rateLimits = new RateLimits(nowMs, ledger);
  const stop = every(REPORT_INTERVAL_MS, () => rateLimits.report());
  metrics.onCollect(() => metrics.set('limitsShared', {}, Number(ledger.isUp)));
  return {
    rateLimits,
    close() {
      stop();
      ledger.close();
    },
  };
}

function openUsage(store: ObjectStore, log: Logger) {
  const now = Date.now;
  const archive = (storeLog?: Logger) => {
    return new UsageArchive({ store: guardStore(store, storeLog), log: storeLog }, now);
  };
  // Servers that may only read the store are no reason for an alert.
  const server = randomUUID().replaceAll('-', '');
  const recorder = new UsageRecorder({ archive: archive(), server, now });
  let isFailing = false;
  const flush = async () => {
    try {
      await recorder.flush();
      isFailing = false;
    } catch (error) {
      const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      if (!isFailing) log.warn({ err: reason }, 'usage was not written; it is tried again');
      isFailing = true;
    }
  };
  const stop = every(WRITE_INTERVAL_MS, () => void flush());
  const add = recorder.add.bind(recorder);
  return {
    http: { recorder: { add, flush }, archive: archive(log), now },
    async close() {
      stop();
      await orAfter(flush(), LAST_WRITE_MS, undefined);
    },
  };
}
