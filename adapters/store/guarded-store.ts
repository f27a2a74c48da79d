// A store whose failures become `ServeError`s that clients may see. Conflicts stay `StoreError`s, because
// the writer handles them.

import { diskFullError, isDiskFull, ServeError } from '../../src/common/errors.ts';
import type { Logger } from '../../src/common/log.ts';
import { logStoreFailure } from './alerts.ts';
import { type ListEntry, type ListOptions, type ObjectStore, StoreError } from './store.ts';

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
