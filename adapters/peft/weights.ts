// An adapter's weights in the engine's layout, and how they are built.
import {
  type ChangedPart,
  partOf,
  unionOfParts,
  type VectorName,
} from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';

/** The update of one linear: y += (x @ a) @ b. */
export interface LoraPair {
  readonly rank: number;
  /** [in, rank], row-major. */
  readonly a: Float32Array;
  /** [rank, out], row-major, with the scaling alpha/r (or alpha/sqrt(r)) folded in. */
  readonly b: Float32Array;
}

/** The parts of an adapter that decide which graph runs it and how much memory its slot takes. */
export interface AdapterShape {
  /** The largest rank of its pairs. */
  readonly rank: number;
  /** The targets that occur in any layer. */
  readonly targets: readonly TargetName[];
  /** Its parts other than LoRA updates, in the order of the table. */
  readonly parts: readonly ChangedPart[];
}

/** An adapter's updates of all layers. Absent targets are not adapted. */
export interface AdapterWeights extends AdapterShape {
  /** SHA-256 over configuration and weights, hex: the adapter's identity. */
  readonly digest: string;
  /** By layer, then by target. */
  readonly layers: readonly Readonly<Partial<Record<TargetName, LoraPair>>>[];
  /** The values that it adds to vectors of the model. Absent vectors stay as they are. */
  readonly vectors: ReadonlyMap<VectorName, Float32Array>;
  readonly byteSize: number;
}

/** The sizes of a pair: A is [inSize, rank], B is [rank, outSize]. */
export interface PairShape {
  readonly rank: number;
  readonly inSize: number;
  readonly outSize: number;
}

/** Layers that are being filled. */
export type MutableLayers = Partial<Record<TargetName, LoraPair>>[];

/** Returns layers without pairs for a model. */
export function emptyLayers({ layerCount }: DecoderConfig): MutableLayers {
  return Array.from({ length: layerCount }, () => ({}));
}

/** Returns a pair of zeros. `allocate` returns zeroed memory for so many values; by default each matrix has its own. */
export function createPair(
  { rank, inSize, outSize }: PairShape,
  allocate = (length: number) => new Float32Array(length),
): LoraPair {
  return { rank, a: allocate(inSize * rank), b: allocate(rank * outSize) };
}

/**
 * Returns a function that hands out parts of one block, one after the other. Hundreds of small blocks per adapter would
 * keep the garbage collector busy.
 */
export function blockAllocator(length: number): (length: number) => Float32Array<ArrayBuffer> {
  const block = new Float32Array(length);
  let used = 0;
  return (count) => {
    used += count;
    return block.subarray(used - count, used);
  };
}

/** Sums of vectors that are being filled. */
export class VectorSums {
  readonly sums = new Map<VectorName, Float32Array>();

  /** Adds `weight` times the values to a vector, which starts as zeros. */
  add(name: VectorName, values: Float32Array, weight: number): void {
    const sum = this.sums.get(name) ?? new Float32Array(values.length);
    this.sums.set(name, sum);
    for (let i = 0; i < sum.length; i++) sum[i]! += weight * values[i]!;
  }
}

/** Returns the adapter with these layers, at least one of which has a pair, and these vectors. */
export function toWeights(
  digest: string,
  layers: AdapterWeights['layers'],
  vectors: AdapterWeights['vectors'] = new Map(),
): AdapterWeights {
  const pairs = layers.flatMap((layer) => Object.values(layer));
  const arrays = [...pairs.flatMap(({ a, b }) => [a, b]), ...vectors.values()];
  return {
    digest,
    rank: Math.max(...pairs.map((pair) => pair.rank)),
    targets: TARGET_NAMES.filter((target) => layers.some((layer) => layer[target])),
    parts: unionOfParts([...vectors.keys()].map(partOf)),
    layers,
    vectors,
    byteSize: arrays.reduce((sum, { byteLength }) => sum + byteLength, 0),
  };
}
