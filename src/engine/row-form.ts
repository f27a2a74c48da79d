// Decides from how many token rows on int8 linears take the row form. See docs/decisions/0012-row-form.md for the numbers.
import type { ProcessorFeature } from '../common/processor.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/**
 * The fewest token rows by instruction set, the fastest first. The runtime's product of 8-bit integers may saturate without
 * any of these.
 */
const FEWEST_TOKEN_ROWS: readonly (readonly [ProcessorFeature, number])[] = [
  ['amx', 2],
  // With VNNI shorter runs are slower or gain little, and a step's tokens would depend on how many others run.
  ['avx512-vnni', 65],
  ['avx-vnni', 65],
];

/**
 * A base of this size is served in the row form alone, because both forms together would take twice the memory. With VNNI a
 * single stream is up to 18 % slower by it; from four streams on it is the faster form.
 */
const ALONE_FROM_BYTES = 1e9;

/** A base as it is served. */
export interface ServedBase {
  readonly weights: WeightsMode;
  readonly provider: Provider;
  /** The size of its weights in one form. */
  readonly byteSize: number;
}

/**
 * Returns the fewest token rows of a run for which the row form is the better one: 1 if it is the only one, undefined if there
 * are none.
 */
export function fewestRowsForRowForm(
  { weights, provider, byteSize }: ServedBase,
  features: readonly ProcessorFeature[] | undefined,
): number | undefined {
  if (weights !== 'int8' || PROVIDERS[provider].memory !== 'host') return undefined;
  const fewest = FEWEST_TOKEN_ROWS.find(([feature]) => features?.includes(feature))?.[1];
  return fewest !== undefined && byteSize >= ALONE_FROM_BYTES ? 1 : fewest;
}
