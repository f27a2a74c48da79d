// How a store's failure is logged, whoever met it: one name of an alert for each kind that a person has to look at.
import type { Logger } from '../../src/common/log.ts';
import type { ObjectStore, StoreError, StoreErrorKind } from './store.ts';

/** Trying again does not help. A store that does not answer now may answer later: it is no alert. */
export const STORE_ALERTS = {
  denied: 's3_auth',
  invalid: 'store_invalid',
  conflict: 'store_conflict',
} as const satisfies Record<Exclude<StoreErrorKind, 'unavailable'>, string>;

/** Logs what a client is not told. */
export function logStoreFailure(
  log: Pick<Logger, 'error' | 'warn'> | undefined,
  { label }: Pick<ObjectStore, 'label'>,
  { kind, message }: StoreError,
): void {
  const fields = { store: label, kind, reason: message };
  if (kind === 'unavailable') log?.warn(fields, 'the store failed');
  else log?.error({ ...fields, alert: STORE_ALERTS[kind] }, 'the store failed');
}
