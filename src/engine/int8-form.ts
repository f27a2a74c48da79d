// Decides from how many token rows on int8 linears take the row form. See docs/decisions/0012-row-form.md for the numbers.
import { ConfigError } from '../common/errors.ts';
import type { ProcessorFeature } from '../common/processor.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/** The row form in every run, even of one token row. */
const ALONE = 1;
/**
 * Chunks of prompts take the row form, steps do not. With VNNI shorter runs are slower or gain little, and the tokens of a step
 * would depend on how many others run.
 */
const PROMPTS_ONLY = 65;

/**
 * The fewest token rows by instruction set, the fastest first. The runtime's product of 8-bit integers may saturate without
 * any of these. With AMX one form for every run costs a single stream nothing, and the answers of the base do not depend on
 * the number of other streams.
 */
const FEWEST_TOKEN_ROWS: readonly (readonly [ProcessorFeature, number])[] = [
  ['amx', ALONE],
  ['avx512-vnni', PROMPTS_ONLY],
  ['avx-vnni', PROMPTS_ONLY],
];

/**
 * A base of this size is served in the row form alone, because both forms together would take twice the memory. With VNNI a
 * single stream is up to 18% slower by it; from four streams on it is the faster form.
 */
const ALONE_FROM_BYTES = 1e9;

/**
 * How the operator wants activations to be rounded for products with int8 weights: with one scale per block of 64, one per token
 * row, or one per token row for chunks of prompts only.
 */
export type Int8Scales = 'blocks' | 'rows' | 'mixed';

/** A base as it is served. */
export interface ServedBase {
  readonly weights: WeightsMode;
  readonly provider: Provider;
  /** The size of its weights in one form. */
  readonly byteSize: number;
  /** The operator's choice. Default: by processor and size. */
  readonly int8Scales?: Int8Scales | undefined;
}

/**
 * Returns the fewest token rows of a run for which the row form is the better one: 1 if it is the only one, undefined if there
 * are none. Throws `ConfigError` if the operator chose a form that the processor cannot compute exactly.
 */
export function fewestRowsForPerTokenForm(
  { weights, provider, byteSize, int8Scales }: ServedBase,
  features: readonly ProcessorFeature[] | undefined,
): number | undefined {
  if (weights !== 'int8' || PROVIDERS[provider].memory !== 'host') return undefined;
  if (int8Scales === 'blocks') return undefined;
  const fewest = FEWEST_TOKEN_ROWS.find(([feature]) => features?.includes(feature))?.[1];
  if (int8Scales === undefined) {
    return fewest !== undefined && byteSize >= ALONE_FROM_BYTES ? ALONE : fewest;
  }
  if (fewest !== undefined) return int8Scales === 'rows' ? ALONE : PROMPTS_ONLY;
  const needed = FEWEST_TOKEN_ROWS.map(([feature]) => feature).join(', ');
  throw new ConfigError([
    `--int8-scales: ${int8Scales} needs a processor with one of ${needed}. Use blocks, or leave it out.`,
  ]);
}
