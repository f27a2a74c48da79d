// Decides from how many token rows on int8 linears use the per-token form. docs/decisions/0012-row-form.md has the
// measurements.
import { ConfigError } from '../common/errors.ts';
import type { ProcessorFeature } from '../common/processor.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/** The per-token form in every run, even for one token row. */
const ALONE = 1;
/**
 * Prompt chunks use the per-token form, decode steps do not. With VNNI, shorter runs are slower or gain little, and the tokens
 * of a step would depend on how many other sequences run.
 */
const PROMPTS_ONLY = 65;

/**
 * The fewest token rows by instruction set, fastest first. Without any of these, the runtime's product of 8-bit integers may
 * saturate. With AMX, using one form for every run costs a single stream nothing, and the base's completions do not depend on
 * the number of other streams.
 */
const FEWEST_TOKEN_ROWS: readonly (readonly [ProcessorFeature, number])[] = [
  ['amx', ALONE],
  ['avx512-vnni', PROMPTS_ONLY],
  ['avx-vnni', PROMPTS_ONLY],
];

/**
 * A base of this size is served only in the per-token form, because both forms together would take twice the memory. With VNNI,
 * this makes a single stream up to 18% slower; from four streams on it is the faster form.
 */
const ALONE_FROM_BYTES = 1e9;

/**
 * How the operator wants activations to be rounded for products with int8 weights: with one scale per block of 64, one per
 * token row, or one per token row for prompt chunks only.
 */
export type Int8Scales = 'blocks' | 'rows' | 'mixed';

/** A base as it is served. */
interface ServedBase {
  readonly weights: WeightsMode;
  readonly provider: Provider;
  /** The size of its weights in one form. */
  readonly byteSize: number;
  /** The operator's choice. Default: by CPU and size. */
  readonly int8Scales?: Int8Scales | undefined;
}

/**
 * Returns the fewest token rows of a run for which the per-token form is better: 1 if it is the only form, undefined if it
 * never is. Throws `ConfigError` if the operator chose a form that the CPU cannot compute exactly.
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
