// Decides which int8 linears use the per-token form. docs/decisions/0012-row-form.md has the measurements.
import type { ProcessorFeature } from '../common/processor.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/**
 * How activations are rounded for products with int8 weights: with one scale per block of 64, one per token row, or one per
 * token row for prompts only. The number of rows never decides, because a sequence would then depend on the others.
 */
export type Int8Scales = 'blocks' | 'rows' | 'mixed';

/**
 * The faster choice by instruction set, fastest first. With AMX, and with AVX2 alone, one form for every run costs a single
 * stream nothing. With VNNI, decoding few sequences is slower in the per-token form. On other CPUs (ARM) it was never measured.
 */
const FASTEST: readonly (readonly [ProcessorFeature, Int8Scales])[] = [
  ['amx', 'rows'],
  ['avx512-vnni', 'mixed'],
  ['avx-vnni', 'mixed'],
  ['avx2', 'rows'],
];

/**
 * A base of this size is served only in the per-token form, because both forms together would take twice the memory. With VNNI,
 * this makes a single stream up to 18% slower; from four streams on it is the faster form.
 */
const ROWS_FROM_BYTES = 1e9;

/** Whether some runs, or all, use the per-token form, which must be in the serving files then. */
export function usesPerTokenForm(int8Scales: Int8Scales | undefined): boolean {
  return int8Scales === 'rows' || int8Scales === 'mixed';
}

/** A base as it is served. */
interface ServedBase {
  readonly weights: WeightsMode;
  readonly provider: Provider;
  /** The size of its weights in one form. */
  readonly byteSize: number;
  /** The operator's choice. Default: by CPU and size. */
  readonly int8Scales?: Int8Scales | undefined;
}

/** Returns the scales of a base's int8 linears, undefined if it has none. */
export function chooseInt8Scales(
  { weights, provider, byteSize, int8Scales }: ServedBase,
  features: readonly ProcessorFeature[] | undefined,
): Int8Scales | undefined {
  if (weights !== 'int8' || PROVIDERS[provider].memory !== 'host') return undefined;
  if (int8Scales !== undefined) return int8Scales;
  const fastest = FASTEST.find(([feature]) => features?.includes(feature))?.[1];
  if (fastest === undefined) return 'blocks';
  return byteSize >= ROWS_FROM_BYTES ? 'rows' : fastest;
}
