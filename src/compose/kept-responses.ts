// Opens the responses that a server keeps, and deletes the expired ones from time to time.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { KeptResponses } from '../conversations/kept-responses.ts';
import type { Config } from '../settings/config.ts';

/** How long an expired response may stay before it is deleted. */
const SWEEP_INTERVAL_MS = 3_600_000;

/** Opens a store's kept responses, if the settings enable them. Expired ones are swept until the signal is aborted. */
export function openKeptResponses(
  {
    storeResponsesMs: keepMs,
    maxResponsesBytes: maxBytes,
  }: Pick<Config, 'storeResponsesMs' | 'maxResponsesBytes'>,
  { store, log, signal }: { store: ObjectStore; log: Logger; signal: AbortSignal },
): KeptResponses | undefined {
  if (keepMs === undefined) return undefined;
  const responses = new KeptResponses({
    store: guardStore(store, log),
    keepMs,
    maxBytes,
    now: Date.now,
  });
  const sweep = () => {
    responses.sweep({ signal }).catch((error: Error) => {
      if (!signal.aborted) log.warn({ reason: error.message }, 'cannot delete expired responses');
    });
  };
  const timer = setInterval(sweep, Math.min(keepMs, SWEEP_INTERVAL_MS)).unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  sweep();
  return responses;
}
