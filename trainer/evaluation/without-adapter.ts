// The base under an adapter: the same model while all of the adapter's weights are zero, so that its updates are, too.
import type { Parameter } from '../types.ts';

/** The weights are what they were when the work is done. */
export async function withoutAdapter<T>(
  parameters: readonly Pick<Parameter, 'data'>[],
  work: () => Promise<T>,
): Promise<T> {
  const saved = parameters.map(({ data }) => data.slice());
  for (const { data } of parameters) data.fill(0);
  try {
    return await work();
  } finally {
    for (const [i, { data }] of parameters.entries()) data.set(saved[i]!);
  }
}
