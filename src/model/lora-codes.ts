// LoRA matrices with 8 bits and one scale per rank row, in the order in which our own operator reads them (`native/kernels.h`).
// Pure: arrays in, arrays out.
import { largestMagnitude } from '../quant/nf4.ts';
import { LARGEST_LEVEL, PACKED_BLOCK } from '../quant/row-int8.ts';
import type { DecoderConfig } from './config.ts';
import { type FusedLinear, fusedTargets, fusedWidth, TARGET_MODULES } from './target-modules.ts';

/** The operands of a fused linear's updates. */
export type LoraCodes = 'codesA' | 'scales' | 'codesB';

/** Returns the shapes of one slot's operands, for all targets of a fused linear. */
export function codeShapes(
  config: DecoderConfig,
  fused: FusedLinear,
  rank: number,
): Readonly<Record<LoraCodes, readonly number[]>> {
  const targets = fusedTargets(config, fused);
  const rankRows = rank * targets.length;
  const { outputs } = PACKED_BLOCK;
  return {
    codesA: [rankRows, TARGET_MODULES[targets[0]!].inFeatures(config)],
    scales: [rankRows],
    codesB: [fusedWidth(config, fused) / outputs, rank, outputs],
  };
}

/** The matrices of an update: x A B, A [in, rank] and B [rank, out], both row-major. */
interface LoraMatrices {
  readonly rank: number;
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** The elements of an operand, int8 or float32. */
type Values = Int8Array | Float32Array;

/** Writes the scales of the rank rows of A times those of B. A rank row that changes nothing has the scale 0. */
export function writeScales(into: Values, update: LoraMatrices): void {
  const { a, b } = scalesOf(update);
  for (let r = 0; r < update.rank; r++) into[r] = a[r]! * b[r]!;
}

/** Writes the codes of A as [rank, in]. */
export function writeCodesA(into: Values, update: LoraMatrices): void {
  const { rank, a } = update;
  const inverses = scalesOf(update).a.map(inverse);
  const inFeatures = a.length / rank;
  for (let i = 0; i < inFeatures; i++) {
    for (let r = 0; r < rank; r++)
      into[r * inFeatures + i] = toCode(a[i * rank + r]! * inverses[r]!);
  }
}

/** Writes the codes of B as [out / 16, ranks, 16], for an operand with `ranks` rank rows. */
export function writeCodesB(into: Values, update: LoraMatrices, ranks: number): void {
  const { rank, b } = update;
  const { outputs: block } = PACKED_BLOCK;
  const inverses = scalesOf(update).b.map(inverse);
  const outFeatures = b.length / rank;
  for (let first = 0; first < outFeatures; first += block) {
    for (let r = 0; r < rank; r++) {
      const to = first * ranks + r * block;
      const from = r * outFeatures + first;
      for (let o = 0; o < block; o++) into[to + o] = toCode(b[from + o]! * inverses[r]!);
    }
  }
}

interface RankScales {
  /** [rank] each */
  readonly a: Float32Array;
  readonly b: Float32Array;
}

const known = new WeakMap<LoraMatrices, RankScales>();

function scalesOf(update: LoraMatrices): RankScales {
  const scales = known.get(update) ?? measure(update);
  known.set(update, scales);
  return scales;
}

function measure({ rank, a, b }: LoraMatrices): RankScales {
  const largestA = new Float32Array(rank);
  for (let i = 0; i < a.length; i += rank) {
    for (let r = 0; r < rank; r++) {
      const magnitude = Math.abs(a[i + r]!);
      // The comparison is negated because a NaN compares false with everything.
      if (!(magnitude <= largestA[r]!))
        largestA[r] = magnitude >= 0 ? magnitude : Number.POSITIVE_INFINITY;
    }
  }
  const out = b.length / rank;
  const largestB = Float32Array.from({ length: rank }, (_, r) =>
    largestMagnitude(b, r * out, (r + 1) * out),
  );
  return { a: largestA.map(toScale), b: largestB.map(toScale) };
}

/** Rounds a level to the nearest code. Truncation of a positive number is faster than `Math.round`. */
function toCode(level: number): number {
  return ((level + (LARGEST_LEVEL + 1.5)) | 0) - (LARGEST_LEVEL + 1);
}

function toScale(largest: number): number {
  return largest / LARGEST_LEVEL;
}

function inverse(scale: number): number {
  return scale > 0 ? 1 / scale : 0;
}
