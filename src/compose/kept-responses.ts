// Opens the responses and conversations that a server keeps, and deletes the expired ones from time to time.
import { guardStore } from '../../adapters/store/guarded-store.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { Conversations } from '../conversations/conversations.ts';
import { KeptResponses } from '../conversations/kept-responses.ts';
import type { AppOptions } from '../http/deps.ts';
import type { Config } from '../settings/config.ts';

/** How long an expired object may stay before it is deleted. */
const SWEEP_INTERVAL_MS = 3_600_000;

/** Opens what a store keeps, if the settings enable it. Expired objects are swept until the signal is aborted. */
export function openKeptResponses(
  {
    storeResponsesMs: keepMs,
    maxResponsesBytes: maxBytes,
  }: Pick<Config, 'storeResponsesMs' | 'maxResponsesBytes'>,
  { store, log, signal }: { store: ObjectStore; log: Logger; signal: AbortSignal },
): Pick<AppOptions, 'keptResponses' | 'conversations'> {
  if (keepMs === undefined) return {};
  const options = { store: guardStore(store, log), keepMs, maxBytes, now: Date.now };
  const kept = {
    keptResponses: new KeptResponses(options),
    conversations: new Conversations(options),
  };
  const sweep = () => {
    Promise.all(Object.values(kept).map((objects) => objects.sweep({ signal }))).catch(
      (error: Error) => {
        if (!signal.aborted) log.warn({ reason: error.message }, 'cannot delete expired responses');
      },
    );
  };
  const timer = setInterval(sweep, Math.min(keepMs, SWEEP_INTERVAL_MS)).unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
  sweep();
  return kept;
}
