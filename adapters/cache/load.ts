// Loads PEFT folders as weights in the engine's layout: reads, verifies and parses the files, and sums compositions. Nothing is
// cached.
import { ServeError } from '../../src/common/errors.ts';
import type { AdapterSource, AdapterSourcePart } from '../../src/contracts/generation.ts';
import { unionOfParts } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { moduleName, TARGET_NAMES } from '../../src/model/target-modules.ts';
import {
  type AdapterFiles,
  CONFIG_FILE,
  measureAdapterFiles,
  readAdapterFiles,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import type { WeightsSize } from '../peft/header.ts';
import type { AdaptedBase } from '../peft/outputs.ts';
import {
  type AdaptedModel,
  type AdapterSink,
  parseAdapter,
  readAdapterInto,
} from '../peft/parse-adapter.ts';
import { checkTotalRank, invalidAdapter } from '../peft/refusal.ts';
import {
  type AdapterShape,
  type AdapterWeights,
  ChangeSums,
  createPair,
  emptyLayers,
  type MutableLayers,
  type PairShape,
  toWeights,
} from '../peft/weights.ts';

/** An adapter whose headers have been read. */
export interface OpenedAdapter {
  /** The size of the weights. Loading also takes the memory of one file. */
  readonly byteSize: number;
  load(): Promise<AdapterWeights>;
}

/** Limits of adapters. */
export interface LoadLimits {
  /** The largest rank of a file, and of a composition's ranks together. */
  readonly maxRank: number;
  /** Whether the engine could run the adapter alone. */
  canHold(size: AdapterShape): boolean;
  /** Default: adapters that are more than updates of linears are refused. */
  readonly base?: AdaptedBase;
}

/** The cache's limit of parallel loads. */
const MAX_KEPT_FILES = 2;
/**
 * Rank 16 on all linears of a 1-billion-parameter model in 16 bits. Reading a larger file takes longer than a garbage
 * collection.
 */
const MAX_KEPT_BYTES = 32 * 2 ** 20;
const FILES: ReadonlySet<string> = new Set([CONFIG_FILE, WEIGHTS_FILE]);

/**
 * Returns a function that opens adapters for one model. It reads headers, and refuses adapters that are too large before it
 * loads anything. Opening and loading throw `ServeError`: the errors of `parseAdapter`, `adapter_unavailable`, and
 * `adapter_checksum_mismatch` if a folder has changed.
 */
export function createAdapterLoader(
  model: DecoderConfig,
  { maxRank, canHold, base }: LoadLimits,
): (source: AdapterSource) => Promise<OpenedAdapter> {
  const memory = new FileMemory();
  return async ({ digest, parts }) => {
    const sizes: WeightsSize[] = [];
    for (const { directory } of parts) sizes.push(await unchanged(measureAdapterFiles(directory)));
    checkTotalRank(
      sizes.map(({ rank }) => rank),
      maxRank,
    );
    const size = {
      rank: sizes.reduce((sum, { rank }) => sum + rank, 0),
      targets: TARGET_NAMES.filter((name) => sizes.some(({ targets }) => targets.includes(name))),
      parts: unionOfParts(...sizes.map(({ parts }) => parts)),
    };
    if (!canHold(size)) {
      const message = `adapter refused: rank ${size.rank} takes more memory than the adapter slots have`;
      throw new ServeError('adapter_invalid', message, { param: 'r' });
    }
    return {
      byteSize: sizes.reduce((sum, { byteSize }) => sum + byteSize, 0),
      load: () =>
        load({ digest, parts, ranks: sizes.map(({ ranks }) => ranks) }, { model, base }, memory),
    };
  };
}

interface MeasuredSource extends Pick<AdapterSource, 'digest' | 'parts'> {
  readonly ranks: readonly WeightsSize['ranks'][];
}

async function load(
  { digest, parts, ranks }: MeasuredSource,
  adapted: AdaptedModel,
  memory: FileMemory,
): Promise<AdapterWeights> {
  const { model, base } = adapted;
  const [first] = parts;
  if (parts.length === 1 && first!.weight === 1) {
    const weights = await withFiles(first!, memory, (files) => parseAdapter(files, model, base));
    return { ...weights, digest };
  }
  const composition = new Composition(model, ranks);
  for (const part of parts) {
    const term = composition.term(part.weight);
    await withFiles(part, memory, (files) => readAdapterInto(files, term, adapted)).catch(
      (error) => {
        throw error instanceof RangeError ? changed(error) : error;
      },
    );
  }
  return composition.weights(digest);
}

/** Reads and verifies a part's files. They are valid until `use` settles. */
async function withFiles<T>(
  { digest, directory }: AdapterSourcePart,
  memory: FileMemory,
  use: (files: AdapterFiles) => Promise<T>,
): Promise<T> {
  let taken: Uint8Array<ArrayBuffer> | undefined;
  const allocate = (byteLength: number) => {
    taken = memory.take(byteLength);
    return taken;
  };
  try {
    const files = await unchanged(readAdapterFiles(directory, allocate));
    if (files.digest !== digest) throw changed();
    return await use(files);
  } finally {
    if (taken) memory.giveBack(taken);
  }
}

/** Memory of earlier files, reused for new ones: each new block makes the garbage collector run sooner. */
class FileMemory {
  #free: ArrayBuffer[] = [];

  take(byteLength: number): Uint8Array<ArrayBuffer> {
    const fitting = this.#free.find((buffer) => buffer.byteLength >= byteLength);
    this.#free = this.#free.filter((buffer) => buffer !== fitting);
    return new Uint8Array(fitting ?? new ArrayBuffer(byteLength), 0, byteLength);
  }

  giveBack({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength > MAX_KEPT_BYTES) return;
    this.#free = [buffer, ...this.#free].slice(0, MAX_KEPT_FILES);
  }
}

/** The folder had this digest before, so a file that is missing or too large must have changed since. */
function unchanged<T>(reading: Promise<T>): Promise<T> {
  return reading.catch((error) => {
    const isOfFile = error instanceof ServeError && FILES.has(error.param ?? '');
    throw isOfFile ? changed(error) : error;
  });
}

function changed(cause?: unknown): ServeError {
  const message = 'the adapter has changed since the request named it';
  return new ServeError('adapter_checksum_mismatch', message, { cause });
}

// Sums several adapters. The sum of their weighted updates is exactly their concatenation along the rank axis. Their changes of
// vectors are added up. Each adapter is read straight into its columns, so a composition takes its own memory and one file's.

/** A composition that is being filled. */
class Composition {
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #isSum: boolean;
  readonly #layers: MutableLayers;
  /** The number of filled columns, by module. */
  readonly #columns = new Map<string, number>();
  readonly #changes = new ChangeSums();
  readonly #vocabSize: number;

  /** @param terms each term's ranks by module name */
  constructor(model: DecoderConfig, terms: readonly ReadonlyMap<string, number>[]) {
    const ranks = new Map<string, number>();
    for (const [module, rank] of terms.flatMap((term) => [...term])) {
      ranks.set(module, (ranks.get(module) ?? 0) + rank);
    }
    this.#ranks = ranks;
    this.#vocabSize = model.vocabSize;
    this.#isSum = terms.length > 1;
    this.#layers = emptyLayers(model);
  }

  /** Returns the memory for the next term. It throws `RangeError` if the term's ranks exceed the announced ones. */
  term(weight: number): AdapterSink {
    return {
      weight,
      allocate: (layer, target, shape: PairShape) => {
        const module = moduleName(layer, target);
        const column = this.#columns.get(module) ?? 0;
        const rank = this.#ranks.get(module) ?? 0;
        if (column + shape.rank > rank) throw new RangeError(`${module}: more than rank ${rank}`);
        this.#columns.set(module, column + shape.rank);
        const pair = this.#layers[layer]![target] ?? createPair({ ...shape, rank });
        this.#layers[layer]![target] = pair;
        return { pair, column };
      },
      addVector: (name, values) => this.#changes.addVector(name, values, weight),
      activate: (invocation) => {
        if (this.#isSum)
          throw invalidAdapter('alora_invocation_tokens', 'cannot be part of a composition');
        this.#changes.invocation = invocation;
      },
      classify: (classifier) => {
        if (this.#isSum) throw invalidAdapter('task_type', 'cannot be part of a composition');
        this.#changes.classifier = classifier;
      },
      addTable: (table, change) => this.#changes.addTable(table, change, weight),
      setVocabulary: (own) => {
        const { vocabulary } = this.#changes;
        if (vocabulary.own) throw ofVocabulary('two adapters with vocabularies of their own');
        // The changes of the other terms are for another number of tokens.
        if (this.#isSum && own.size < this.#vocabSize)
          throw ofVocabulary('an adapter with a shorter vocabulary than the base');
        vocabulary.own = own;
      },
    };
  }

  /** Returns the weights, once every term is written. */
  weights(digest: string): AdapterWeights {
    return toWeights(digest, this.#layers, this.#changes);
  }
}

function ofVocabulary(what: string): ServeError {
  return invalidAdapter('model', `${what} cannot be composed`);
}
