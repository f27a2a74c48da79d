// Traces of requests for adapters, and the plain cache that others are compared with on them.
import { seededRandom } from '../fixtures.ts';

export interface TraceOptions {
  readonly requests: number;
  /** From this request on other adapters are the popular ones. */
  readonly shiftAt?: number;
  readonly seed?: number;
}

/** Indices of `count` adapters by Zipf's law with exponent 1, the most popular one first. */
export function zipfTrace(
  count: number,
  { requests, shiftAt = Number.POSITIVE_INFINITY, seed = 1 }: TraceOptions,
): number[] {
  const random = seededRandom(seed);
  const bounds: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= count; rank++) {
    sum += 1 / rank;
    bounds.push(sum);
  }
  return Array.from({ length: requests }, (_, i) => {
    const at = ((random() + 1) / 2) * sum;
    const rank = bounds.findIndex((bound) => at < bound);
    return i < shiftAt ? rank : (rank + count / 2) % count;
  });
}

/** The one used longest ago goes. */
export class PlainLru {
  readonly #resident: number[] = [];
  readonly #byteSizes: readonly number[];
  readonly #capacityBytes: number;

  constructor(byteSizes: readonly number[], capacityBytes: number) {
    this.#byteSizes = byteSizes;
    this.#capacityBytes = capacityBytes;
  }

  /** Whether it was there; it is then. */
  access(index: number): boolean {
    const at = this.#resident.indexOf(index);
    if (at >= 0) this.#resident.splice(at, 1);
    this.#resident.push(index);
    const bytes = () => this.#resident.reduce((sum, one) => sum + this.#byteSizes[one]!, 0);
    while (bytes() > this.#capacityBytes) this.#resident.shift();
    return at >= 0;
  }
}
