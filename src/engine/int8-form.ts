// Decides which int8 linears use the per-token form. docs/decisions/0012-row-form.md has the measurements.
import { describeProcessor, type ProcessorFeature } from '../common/processor.ts';
import type { DecoderConfig } from '../model/config.ts';
import { canPack, type RowPacking } from '../model/row-weights.ts';
import type { WeightsMode } from '../model/serving-weights.ts';
import { ownInstructions } from '../ort/own-operators.ts';
import { PROVIDERS, type Provider } from '../settings/provider.ts';

/**
 * How activations are rounded for products with int8 weights: with one scale per block of 64, one per token row, or one per
 * token row for prompts only. The number of rows never decides, because a sequence would then depend on the others.
 */
export type Int8Scales = 'blocks' | 'rows' | 'mixed';

/** How a base's int8 linears are computed. */
export interface Int8Form {
  readonly scales: Int8Scales;
  /** The order of the weights in per-token form; `packed` for our own operator. */
  readonly packing: RowPacking;
}

/** The hardware that decides which form is fast. */
export interface Int8Hardware {
  /** The CPU's instruction sets; undefined if the system does not report them. */
  readonly features: readonly ProcessorFeature[] | undefined;
  /** The instruction set of our own operator on this CPU; undefined if it does not run here. */
  readonly ownInstructions: string | undefined;
}

/** Returns the hardware of this machine. */
export function int8Hardware(): Int8Hardware {
  return { features: describeProcessor().features, ownInstructions: ownInstructions() };
}

/**
 * The faster choice by instruction set, fastest first, without our own operator. With AMX, and with AVX2 alone, one form for
 * every run costs a single stream nothing. With VNNI, decoding few sequences is slower in the per-token form. On other CPUs (ARM)
 * it was never measured.
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
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  readonly provider: Provider;
  /** The size of its weights in one form. */
  readonly byteSize: number;
  /** The operator's choice. Default: by CPU and size. */
  readonly int8Scales?: Int8Scales | undefined;
}

/**
 * Returns the form of a base's int8 linears, undefined if it has none. Our own operator computes every run, except with AMX,
 * which it does not use.
 */
export function chooseInt8Form(
  { config, weights, provider, byteSize, int8Scales }: ServedBase,
  { features, ownInstructions }: Int8Hardware,
): Int8Form | undefined {
  if (weights !== 'int8' || PROVIDERS[provider].memory !== 'host') return undefined;
  const hasOperator = ownInstructions !== undefined && !features?.includes('amx');
  if (hasOperator && canPack(config) && (int8Scales ?? 'rows') === 'rows')
    return { scales: 'rows', packing: 'packed' };
  if (int8Scales !== undefined) return { scales: int8Scales, packing: 'plain' };
  const fastest = FASTEST.find(([feature]) => features?.includes(feature))?.[1];
  const isLarge = byteSize >= ROWS_FROM_BYTES;
  return { scales: fastest && isLarge ? 'rows' : (fastest ?? 'blocks'), packing: 'plain' };
}
