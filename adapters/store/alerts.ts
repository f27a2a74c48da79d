// Logs a store's faults: as an alert if a person has to act, as a warning if it may pass by itself.
import type { Logger } from '../../src/common/log.ts';
import type { ObjectStore, StoreError, StoreErrorKind } from './store.ts';

/** A fault of a store, or of the adapters in it. */
export type StoreFault =
  | StoreErrorKind
  /** A body broke off. */
  | 'interrupted'
  /** A file or version that something refers to does not exist. */
  | 'missing'
  /** A published file differs from its manifest. */
  | 'corrupt';

/** The name of each fault's alert. */
const ALERTS: Readonly<Record<StoreFault, string | undefined>> = {
  unavailable: undefined,
  interrupted: undefined,
  denied: 's3_auth',
  invalid: 'store_invalid',
  conflict: 'store_conflict',
  damaged: 'store_damaged',
  missing: 'dangling_pointer',
  corrupt: 'corrupt_object',
};

/** The log levels of faults. */
export type StoreLog = Pick<Logger, 'error' | 'warn'>;

/** Logs a fault: with its alert, or as a warning if trying again may help. */
export function logStoreFault(
  log: StoreLog | undefined,
  fault: StoreFault,
  fields: Readonly<Record<string, unknown>>,
  message: string,
): void {
  const alert = ALERTS[fault];
  if (alert) log?.error({ ...fields, alert }, message);
  else log?.warn(fields, message);
}

/** Logs the reason of a failed call, which a client is not told. */
export function logStoreFailure(
  log: StoreLog | undefined,
  { label }: Pick<ObjectStore, 'label'>,
  { kind, message }: StoreError,
): void {
  logStoreFault(log, kind, { store: label, kind, reason: message }, 'the store failed');
}
