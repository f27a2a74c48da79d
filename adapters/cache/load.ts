// Loads PEFT folders as weights in the engine's layout: measures, reads, verifies, parses, and adds up compositions. It caches
// nothing.
import { ServeError } from '../../src/common/errors.ts';
import type { AdapterSource, AdapterSourcePart } from '../../src/contracts/generation.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_NAMES } from '../../src/model/target-modules.ts';
import { CONFIG_FILE, measureAdapterFiles, readAdapterFiles, WEIGHTS_FILE } from '../peft/files.ts';
import type { WeightsSize } from '../peft/header.ts';
import { type AdapterBytes, parseAdapter, readAdapterInto } from '../peft/parse-adapter.ts';
import { checkTotalRank } from '../peft/refusal.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import { Composition } from './composition.ts';

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
  canHold(size: Pick<AdapterWeights, 'rank' | 'targets'>): boolean;
}

const FILES: ReadonlySet<string> = new Set([CONFIG_FILE, WEIGHTS_FILE]);

/**
 * Returns a function that opens adapters for one model. It reads headers, and refuses what is too large before anything is
 * loaded. Opening and loading throw `ServeError`: the errors of `parseAdapter`, `adapter_unavailable`, and
 * `adapter_checksum_mismatch` if a folder has changed.
 */
export function createAdapterLoader(
  model: DecoderConfig,
  { maxRank, canHold }: LoadLimits,
): (source: AdapterSource) => Promise<OpenedAdapter> {
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
    };
    if (!canHold(size)) {
      const message = `adapter refused: rank ${size.rank} takes more memory than the adapter slots have`;
      throw new ServeError('adapter_invalid', message, { param: 'r' });
    }
    return {
      byteSize: sizes.reduce((sum, { byteSize }) => sum + byteSize, 0),
      load: () => load({ digest, parts, ranks: sizes.map(({ ranks }) => ranks) }, model),
    };
  };
}

interface MeasuredSource extends Pick<AdapterSource, 'digest' | 'parts'> {
  readonly ranks: readonly WeightsSize['ranks'][];
}

async function load(
  { digest, parts, ranks }: MeasuredSource,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const [first] = parts;
  if (parts.length === 1 && first!.weight === 1) {
    return { ...(await parseAdapter(await readPart(first!), model)), digest };
  }
  const composition = new Composition(model, ranks);
  for (const part of parts) {
    await readAdapterInto(await readPart(part), model, composition.term(part.weight)).catch(
      (error) => {
        throw error instanceof RangeError ? changed(error) : error;
      },
    );
  }
  return composition.weights(digest);
}

async function readPart({ digest, directory }: AdapterSourcePart): Promise<AdapterBytes> {
  const files = await unchanged(readAdapterFiles(directory));
  if (files.digest !== digest) throw changed();
  return files;
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
