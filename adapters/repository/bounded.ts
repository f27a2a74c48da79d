// Asynchronous work on many items with few at a time.

/** Connections of one caller: enough to hide latency, few enough for a server beside it. */
const WIDTH = 16;

/** As `Promise.all` over `items.map(work)`, at most 16 at once; after the first failure none is begun. */
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
  await Promise.all(Array.from({ length: Math.min(WIDTH, items.length) }, worker));
  return results;
}
