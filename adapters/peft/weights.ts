// An adapter's weights in the engine's layout, and how they are built.
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

/** An adapter's updates of all layers. Absent targets are not adapted. */
export interface AdapterWeights {
  /** SHA-256 over configuration and weights, hex: the adapter's identity. */
  readonly digest: string;
  /** The largest rank of its pairs. */
  readonly rank: number;
  /** The targets that occur in any layer. */
  readonly targets: readonly TargetName[];
  /** By layer, then by target. */
  readonly layers: readonly Readonly<Partial<Record<TargetName, LoraPair>>>[];
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

/** Returns a pair of zeros. */
export function createPair({ rank, inSize, outSize }: PairShape): LoraPair {
  return { rank, a: new Float32Array(inSize * rank), b: new Float32Array(rank * outSize) };
}

/** Returns the adapter with these layers, at least one of which has a pair. */
export function toWeights(digest: string, layers: AdapterWeights['layers']): AdapterWeights {
  const pairs = layers.flatMap((layer) => Object.values(layer));
  return {
    digest,
    rank: Math.max(...pairs.map((pair) => pair.rank)),
    targets: TARGET_NAMES.filter((target) => layers.some((layer) => layer[target])),
    layers,
    byteSize: pairs.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0),
  };
}
