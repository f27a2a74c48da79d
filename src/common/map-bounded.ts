// Asynchronous work on many items, a few at a time.

/** Enough concurrent calls to hide latency, few enough to leave a shared server some room. */
const MAX_PARALLEL = 16;

/** Like `Promise.all(items.map(work))`, with at most 16 calls in flight. After a failure it starts no further call. */
export async function mapBounded<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let hasFailed = false;
  const worker = async () => {
    while (next < items.length && !hasFailed) {
      const i = next++;
      try {
        results[i] = await work(items[i]!);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_PARALLEL, items.length) }, worker));
  return results;
}
