// Turns a store's failures into `ServeError`s that clients may see. This is the only place that does. The reason goes to the
// log, and to local callers as the cause.
import { diskRefusal, isDiskFull, ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import {
  isConflict,
  type ListEntry,
  type ListOptions,
  type ObjectStore,
  StoreError,
  type StoreErrorKind,
} from './store.ts';

/** A store that reports its failures as errors for clients. */
export interface GuardedStore extends ObjectStore {
  /** Returns the error for a client, with the store's error as its cause. Does not log it. */
  refuse(cause: StoreError): ServeError;
}

/** Codes and messages for an unavailable store and for a damaged object, by the kind of store. */
const REFUSALS = {
  store_unavailable: [
    [
      'store_unavailable',
      'The store of the server does not answer. Try again later; the log of the server gives the reason.',
    ],
    [
      'object_damaged',
      'The object is damaged in the store, so trying again does not help. Delete it and create it again, or ask the operator to restore it; the log of the server names it.',
    ],
  ],
  adapter_unavailable: [
    [
      'adapter_unavailable',
      'The adapter store does not answer. Try again later; the log of the server gives the reason.',
    ],
    [
      'adapter_unavailable',
      'The stored adapter is damaged, so trying again does not help. Publish it again, or ask the operator to restore it; the log of the server names the object.',
    ],
  ],
} as const;

/**
 * Wraps a store. Its calls throw `ServeError` (`code`, `insufficient_storage`) or a signal's reason. A conditional write also
 * throws the conflict, which its writer handles.
 */
export function guardStore(
  store: ObjectStore,
  log?: StoreLog,
  code: keyof typeof REFUSALS = 'store_unavailable',
): GuardedStore {
  const refuse = (cause: StoreError) => {
    const refusal = diskRefusal(cause);
    if (refusal) return refusal;
    const [silent, damaged] = REFUSALS[code];
    const [shown, message] = cause.kind === 'damaged' ? damaged : silent;
    return new ServeError(shown, message, { cause });
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

// Logs a store's faults: as an alert if a person has to act, as a warning if it may go away by itself.

/** A fault of a store, or of the adapters in it. */
export type StoreFault =
  | StoreErrorKind
  /** A body broke off. */
  | 'interrupted'
  /** A file or version that another document refers to does not exist. */
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

/** Logs a fault: with its alert, or as a warning if a retry may help. */
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

/** Logs the reason of a failed call, which clients do not see. */
function logStoreFailure(
  log: StoreLog | undefined,
  { label }: Pick<ObjectStore, 'label'>,
  { kind, message }: StoreError,
): void {
  logStoreFault(log, kind, { store: label, kind, reason: message }, 'the store failed');
}
