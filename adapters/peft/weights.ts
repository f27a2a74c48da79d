// An adapter's weights in the engine's layout, and how they are built.
import type { ServeError } from '../../src/common/errors.ts';
import { largest } from '../../src/common/long-arrays.ts';
import {
  type ChangedPart,
  partOf,
  unionOfParts,
  type VectorName,
} from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { moduleName, TARGET_NAMES, type TargetName } from '../../src/model/target-modules.ts';
import {
  NO_VOCABULARY_CHANGES,
  type OwnVocabulary,
  type TableChange,
  type VocabularyChanges,
  type VocabularyTable,
  vocabularyArrays,
} from '../../src/model/vocabulary-changes.ts';
import { invalidAdapter } from './refusal.ts';

/** A classification head. D = hidden size. */
export interface Classifier {
  /** The labels of the scores, in order. */
  readonly labels: readonly string[];
  /** [labels, D], row-major. */
  readonly weight: Float32Array;
}

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
interface PairShape {
  readonly rank: number;
  readonly inSize: number;
  readonly outSize: number;
}

/** The destination of a pair of factors: A goes to the columns of [in, R] from `column` on, B to the same rows of [R, out]. */
export interface PairSlice {
  readonly pair: LoraPair;
  readonly column: number;
}

/**
 * An adapter, or the sum of several, that is being read. A sum of weighted updates is exactly their concatenation along the rank
 * axis. Changes of vectors are added up. Each adapter is read straight into its columns, so a composition takes its own memory
 * and one file's.
 */
export class AdapterSum {
  readonly #isComposition: boolean;
  readonly #vocabSize: number;
  readonly #layers: Partial<Record<TargetName, LoraPair>>[];
  /** The rank of the sum, by module. Undefined: an adapter has the ranks that it asks for. */
  readonly #ranks: Map<string, number> | undefined;
  /** The number of filled columns, by module. */
  readonly #columns = new Map<string, number>();
  readonly #vectors = new Map<VectorName, Float32Array>();
  readonly #vocabulary: Record<VocabularyTable, TableChange[]> & { own?: OwnVocabulary } = {
    embedding: [],
    head: [],
  };
  #invocation: readonly number[] | undefined;
  #classifier: Classifier | undefined;
  #block = new Float32Array(0);
  #usedValues = 0;

  /** @param terms each term's ranks by module name. Absent: one term, whose ranks are not known yet. */
  constructor(
    { layerCount, vocabSize }: DecoderConfig,
    terms?: readonly ReadonlyMap<string, number>[],
  ) {
    this.#isComposition = terms !== undefined && terms.length > 1;
    this.#vocabSize = vocabSize;
    this.#layers = Array.from({ length: layerCount }, () => ({}));
    this.#ranks = terms && new Map();
    for (const [module, rank] of terms?.flatMap((term) => [...term]) ?? []) {
      this.#ranks!.set(module, (this.#ranks!.get(module) ?? 0) + rank);
    }
  }

  /** Call it with a term's number of values before anything is added. */
  begin(valueCount: number): void {
    // Hundreds of small blocks per adapter would keep the garbage collector busy.
    if (!this.#isComposition) this.#block = new Float32Array(valueCount);
  }

  /**
   * Returns the memory for one module of the next term. Call it once, before the values are read. Throws `RangeError` if the
   * term's ranks exceed the announced ones.
   */
  allocate(layer: number, target: TargetName, { rank, inSize, outSize }: PairShape): PairSlice {
    const module = moduleName(layer, target);
    const column = this.#columns.get(module) ?? 0;
    const total = this.#ranks ? (this.#ranks.get(module) ?? 0) : rank;
    if (column + rank > total) throw new RangeError(`${module}: more than rank ${total}`);
    this.#columns.set(module, column + rank);
    const pair = this.#layers[layer]![target] ?? {
      rank: total,
      a: this.#zeros(inSize * total),
      b: this.#zeros(total * outSize),
    };
    this.#layers[layer]![target] = pair;
    return { pair, column };
  }

  #zeros(length: number): Float32Array {
    if (this.#block.length === 0) return new Float32Array(length);
    this.#usedValues += length;
    return this.#block.subarray(this.#usedValues - length, this.#usedValues);
  }

  /** Adds `weight` times the values to one of the model's vectors. */
  addVector(name: VectorName, values: Float32Array, weight: number): void {
    const sum = this.#vectors.get(name) ?? new Float32Array(values.length);
    this.#vectors.set(name, sum);
    for (let i = 0; i < sum.length; i++) sum[i]! += weight * values[i]!;
  }

  /** Adds `weight` times a change of a vocabulary table. */
  addTable(table: VocabularyTable, change: TableChange, weight: number): void {
    this.#vocabulary[table].push({ ...change, weight: weight * change.weight });
  }

  /** Gives the adapter a vocabulary that differs from the base's. Throws `ServeError` if the other terms cannot have it. */
  setVocabulary(own: OwnVocabulary): void {
    if (this.#vocabulary.own) throw ofVocabulary('two adapters with vocabularies of their own');
    // The changes of the other terms are for another number of tokens.
    if (this.#isComposition && own.size < this.#vocabSize)
      throw ofVocabulary('an adapter with a shorter vocabulary than the base');
    this.#vocabulary.own = own;
  }

  /** Makes it an adapter that applies only from its invocation on. Throws `ServeError` in a composition. */
  activate(invocation: readonly number[]): void {
    this.#refuseIn('alora_invocation_tokens');
    this.#invocation = invocation;
  }

  /** Makes the adapter a classifier. Throws `ServeError` in a composition. */
  classify(classifier: Classifier): void {
    this.#refuseIn('task_type');
    this.#classifier = classifier;
  }

  #refuseIn(field: string): void {
    if (this.#isComposition) throw invalidAdapter(field, 'cannot be part of a composition');
  }

  /** Returns the weights, once every term is written. */
  weights(digest: string): AdapterWeights {
    return toWeights(digest, this.#layers, {
      vectors: this.#vectors,
      vocabulary: this.#vocabulary,
      invocation: this.#invocation,
      classifier: this.#classifier,
    });
  }
}

function ofVocabulary(what: string): ServeError {
  return invalidAdapter('model', `${what} cannot be composed`);
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
    rank: largest([1, ...pairs.map((pair) => pair.rank)]),
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
