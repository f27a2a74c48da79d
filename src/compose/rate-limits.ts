// Opens the limits of tenants: of this server alone, or shared with others through a ledger.
import type { Logger } from '../common/log.ts';
import { every } from '../common/waiting.ts';
import type { Config } from '../settings/config.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { RateLimits } from '../tenants/rate-limits.ts';

const REPORT_INTERVAL_MS = 1000;

/** Limits, and how to end them. */
export interface ServingLimits {
  readonly rateLimits: RateLimits;
  close(): void;
}

/** Opens the limits. Does not wait for a ledger. */
export async function openServingLimits(
  { ledger: url }: Pick<Config, 'ledger'>,
  { log, telemetry: { metrics } }: { log: Logger; telemetry: Telemetry },
): Promise<ServingLimits> {
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
