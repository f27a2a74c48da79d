// Opens the limits and the usage of tenants: what this server counts, and what it shares with other servers through a ledger and
// the store.
import { randomUUID } from 'node:crypto';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { every, orAfter } from '../common/waiting.ts';
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

/** Opens the limits of tenants. Does not wait for the ledger. */
export async function openLimits(
  { ledger: url }: Pick<Config, 'ledger'>,
  { telemetry: { metrics }, log }: { telemetry: Pick<Telemetry, 'metrics'>; log: Logger },
): Promise<{ rateLimits: RateLimits; close?(): void }> {
  const nowMs = () => performance.now();
  if (url === undefined) return { rateLimits: new RateLimits(nowMs) };
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

/** Opens the usage of tenants. Does not wait for the store. Closing writes the rest, and never rejects. */
export function openUsage({ store, log }: { store: ObjectStore; log: Logger }) {
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
    recorder: { add, flush },
    archive: archive(log),
    now,
    async close() {
      stop();
      await orAfter(flush(), LAST_WRITE_MS, undefined);
    },
  };
}
