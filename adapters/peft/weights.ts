// An adapter's weights in the engine's layout, and how they are built.
import {
  type ChangedPart,
  partOf,
  unionOfParts,
  type VectorName,
} from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';
import {
  NO_VOCABULARY_CHANGES,
  type OwnVocabulary,
  type TableChange,
  type VocabularyChanges,
  type VocabularyTable,
  vocabularyArrays,
} from '../../src/model/vocabulary-changes.ts';
import type { Classifier } from './outputs.ts';

/** The update of one linear: y += (x @ a) @ b. */
export interface LoraPair {
  readonly rank: number;
  /** [in, rank], row-major. */
  readonly a: Float32Array;
  /** [rank, out], row-major, with the scaling alpha/r (or alpha/sqrt(r)) folded in. */
  readonly b: Float32Array;
}

/** The properties of an adapter that decide which graph runs it and how much memory its slot takes. */
export interface AdapterShape {
  /** The largest rank of its pairs. */
  readonly rank: number;
  /** The targets that occur in any layer. */
  readonly targets: readonly TargetName[];
  /** Its parts other than LoRA updates, in the order of the table. */
  readonly parts: readonly ChangedPart[];
}

/** An adapter's updates of all layers. Absent targets are unchanged. */
export interface AdapterWeights extends AdapterShape {
  /** SHA-256 over configuration and weights, hex: the adapter's identity. */
  readonly digest: string;
  /** By layer, then by target. */
  readonly layers: readonly Readonly<Partial<Record<TargetName, LoraPair>>>[];
  /** The values that it adds to vectors of the model. Absent vectors are unchanged. */
  readonly vectors: ReadonlyMap<VectorName, Float32Array>;
  /** Its changes of the tables of the vocabulary. */
  readonly vocabulary: VocabularyChanges;
  /** The adapter applies from the last occurrence of these tokens in a prompt. Undefined: it always applies. */
  readonly invocation: readonly number[] | undefined;
  /** Absent if the adapter generates text. */
  readonly classifier: Classifier | undefined;
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

/**
 * Returns a pair of zeros. `allocate` returns zeroed memory for a number of values; by default each matrix gets a separate
 * block.
 */
export function createPair(
  { rank, inSize, outSize }: PairShape,
  allocate = (length: number) => new Float32Array(length),
): LoraPair {
  return { rank, a: allocate(inSize * rank), b: allocate(rank * outSize) };
}

/**
 * Returns a function that hands out consecutive parts of one block. Hundreds of small blocks per adapter would keep the garbage
 * collector busy.
 */
export function blockAllocator(length: number): (length: number) => Float32Array<ArrayBuffer> {
  const block = new Float32Array(length);
  let used = 0;
  return (count) => {
    used += count;
    return block.subarray(used - count, used);
  };
}

/** The changes of one or several adapters other than updates of linears, while they are being collected. */
export class ChangeSums {
  readonly vectors = new Map<VectorName, Float32Array>();
  readonly vocabulary: Record<VocabularyTable, TableChange[]> & { own?: OwnVocabulary } = {
    embedding: [],
    head: [],
  };
  invocation: readonly number[] | undefined;
  classifier: Classifier | undefined;

  /** Adds `weight` times the values to a vector, which starts as zeros. */
  addVector(name: VectorName, values: Float32Array, weight: number): void {
    const sum = this.vectors.get(name) ?? new Float32Array(values.length);
    this.vectors.set(name, sum);
    for (let i = 0; i < sum.length; i++) sum[i]! += weight * values[i]!;
  }

  addTable(table: VocabularyTable, change: TableChange, weight: number): void {
    this.vocabulary[table].push({ ...change, weight: weight * change.weight });
  }
}

/** The changes of an adapter other than updates of linears. */
export type OtherChanges = Partial<
  Pick<AdapterWeights, 'vectors' | 'vocabulary' | 'invocation' | 'classifier'>
>;

/** Returns the adapter with these layers and other changes. */
export function toWeights(
  digest: string,
  layers: AdapterWeights['layers'],
  {
    vectors = new Map(),
    vocabulary = NO_VOCABULARY_CHANGES,
    invocation,
    classifier,
  }: OtherChanges = {},
): AdapterWeights {
  const pairs = layers.flatMap((layer) => Object.values(layer));
  const tables = vocabularyArrays(vocabulary);
  // A table that embedding and head share counts once.
  const others = [...vectors.values(), ...tables, ...(classifier ? [classifier.weight] : [])];
  const arrays = new Set([...pairs.flatMap(({ a, b }) => [a, b]), ...others]);
  const parts: ChangedPart[] = [...vectors.keys()].map(partOf);
  const isOwn = vocabulary.own !== undefined;
  if (isOwn || vocabulary.embedding.length > 0) parts.push('embedding');
  if (isOwn || vocabulary.head.length > 0) parts.push('head');
  return {
    digest,
    rank: Math.max(1, ...pairs.map((pair) => pair.rank)),
    targets: TARGET_NAMES.filter((target) => layers.some((layer) => layer[target])),
    parts: unionOfParts(parts),
    layers,
    vectors,
    vocabulary,
    invocation,
    classifier,
    byteSize: [...arrays].reduce((sum, { byteLength }) => sum + byteLength, 0),
  };
}
