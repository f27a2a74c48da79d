// Loads PEFT folders as weights in the engine's layout: reads, verifies and parses the files, and sums compositions. Nothing is
// cached.
import { exceedsSlotsError, ServeError } from '../../src/common/errors.ts';
import type { AdapterSource, AdapterSourcePart } from '../../src/contracts/generation.ts';
import { unionOfParts } from '../../src/model/adapter-vectors.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_NAMES } from '../../src/model/target-modules.ts';
import {
  type AdapterFiles,
  CONFIG_FILE,
  measureAdapterFiles,
  readAdapterFiles,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import type { WeightsSize } from '../peft/header.ts';
import type { AdaptedBase } from '../peft/outputs.ts';
import { type AdaptedModel, readAdapterInto } from '../peft/parse-adapter.ts';
import { checkTotalRank } from '../peft/refusal.ts';
import { type AdapterShape, AdapterSum, type AdapterWeights } from '../peft/weights.ts';

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
    if (!canHold(size)) throw exceedsSlotsError(size.rank);
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
  const sum = new AdapterSum(adapted.model, ranks);
  for (const part of parts) {
    const term = { sum, weight: part.weight };
    await withFiles(part, memory, (files) => readAdapterInto(files, term, adapted)).catch(
      (error) => {
        throw error instanceof RangeError ? changed(error) : error;
      },
    );
  }
  return sum.weights(digest);
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
  const message = 'The files of the adapter changed after the request had named it. Try again.';
  return new ServeError('adapter_checksum_mismatch', message, { cause });
}
