// A store whose failures become `ServeError`s that clients may see. Conflicts stay `StoreError`s, because
// the writer handles them.
import { diskFullError, isDiskFull, ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import {
  type ListEntry,
  type ListOptions,
  type ObjectStore,
  StoreError,
  type StoreErrorKind,
} from './store.ts';

/** The result throws `ServeError` (`store_unavailable`, `insufficient_storage`), conflicts, or a signal's reason. */
export function guardStore(store: ObjectStore, log: Pick<Logger, 'error' | 'warn'>): ObjectStore {
  const refuse = (error: unknown): unknown => {
    if (!(error instanceof StoreError) || error.kind === 'conflict') return error;
    if (isDiskFull(error)) return diskFullError(error);
    logStoreFailure(log, store, error);
    return new ServeError('store_unavailable', 'The store does not answer.', { cause: error });
  };
  const guarded = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw refuse(error);
    }
  };
  async function* guardedIteration<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* items;
    } catch (error) {
      throw refuse(error);
    }
  }
  return {
    label: store.label,
    async get(key, call) {
      const object = await guarded(store.get(key, call));
      return object && { ...object, body: guardedIteration(object.body) };
    },
    head: (key, call) => guarded(store.head(key, call)),
    put: (key, source, options) => guarded(store.put(key, source, options)),
    delete: (key, call) => guarded(store.delete(key, call)),
    list: (prefix: string, options?: ListOptions): AsyncIterable<ListEntry> =>
      guardedIteration(store.list(prefix, options)),
  };
}

// Logs a store's faults: as an alert if a person has to act, as a warning if it may pass by itself.

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
