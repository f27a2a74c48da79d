// Stores whose calls tests count, delay or fail.
import type { ListOptions, ObjectStore } from '../../../adapters/store/store.ts';

/** Does the work of a call. `call` is its name and its key, such as `get a/b`. */
export type Around = <T>(work: () => Promise<T>, call: string) => Promise<T>;

/** A store that makes every call through `around`. A list is made once `around` has let it begin. */
export function wrapStore(inner: ObjectStore, around: Around = (work) => work()): ObjectStore {
  return {
    label: inner.label,
    get: (key, call) => around(() => inner.get(key, call), `get ${key}`),
    head: (key, call) => around(() => inner.head(key, call), `head ${key}`),
    put: (key, source, options) => around(() => inner.put(key, source, options), `put ${key}`),
    delete: (key, call) => around(() => inner.delete(key, call), `delete ${key}`),
    async *list(prefix, options) {
      await around(async () => {}, `list ${prefix}`);
      yield* inner.list(prefix, options);
    },
  };
}

/** The keys of a store that begin with a prefix, in order. */
export async function listKeys(
  store: Pick<ObjectStore, 'list'>,
  prefix = '',
  options?: ListOptions,
): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix, options)) keys.push(key);
  return keys;
}
