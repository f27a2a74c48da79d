// A store whose failures become `ServeError`s that clients may see: the one place that translates them. The reason goes to the
// log, and to local callers as the cause.
import { diskFullError, isDiskFull, ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import {
  isConflict,
  type ListEntry,
  type ListOptions,
  type ObjectStore,
  StoreError,
  type StoreErrorKind,
} from './store.ts';

/** A store that answers its failures as errors for clients. */
export interface GuardedStore extends ObjectStore {
  /** Returns the error for a client, with the store's as its cause. Does not log it. */
  refuse(cause: StoreError): ServeError;
}

/** The messages for clients, by the kind of store. */
const REFUSALS = {
  store_unavailable: {
    silent: 'The store does not answer.',
    damaged: 'An object in the store is damaged.',
  },
  adapter_unavailable: {
    silent: 'The adapter store does not answer.',
    damaged: 'The stored adapter is damaged.',
  },
};

/**
 * The result throws `ServeError` (`code`, `insufficient_storage`) or a signal's reason; a conditional write also the conflict, which
 * its writer handles.
 */
export function guardStore(
  store: ObjectStore,
  log?: StoreLog,
  code: keyof typeof REFUSALS = 'store_unavailable',
): GuardedStore {
  const refuse = (cause: StoreError) => {
    const { silent, damaged } = REFUSALS[code];
    if (isDiskFull(cause)) return diskFullError(cause);
    return new ServeError(code, cause.kind === 'damaged' ? damaged : silent, { cause });
  };
  const translate = (error: unknown): unknown => {
    if (!(error instanceof StoreError)) return error;
    if (!isDiskFull(error)) logStoreFailure(log, store, error);
    return refuse(error);
  };
  const guarded = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw translate(error);
    }
  };
  async function* guardedIteration<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* items;
    } catch (error) {
      throw translate(error);
    }
  }
  return {
    label: store.label,
    refuse,
    async get(key, call) {
      const object = await guarded(store.get(key, call));
      return object && { ...object, body: guardedIteration(object.body) };
    },
    head: (key, call) => guarded(store.head(key, call)),
    async put(key, source, options = {}) {
      try {
        return await store.put(key, source, options);
      } catch (error) {
        const isConditional = options.ifAbsent || options.ifMatch !== undefined;
        throw isConditional && isConflict(error) ? error : translate(error);
      }
    },
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
function logStoreFailure(
  log: StoreLog | undefined,
  { label }: Pick<ObjectStore, 'label'>,
  { kind, message }: StoreError,
): void {
  logStoreFault(log, kind, { store: label, kind, reason: message }, 'the store failed');
}
