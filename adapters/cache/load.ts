// From PEFT folders to weights in the engine's layout: measure, read, verify, parse, and add up what a composition is
// made of. It caches nothing.

import { ServeError } from '../../src/common/errors.ts';
import type { AdapterSource, AdapterSourcePart } from '../../src/contracts/generation.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { TARGET_NAMES } from '../../src/model/target-modules.ts';
import { CONFIG_FILE, measureAdapterFiles, readAdapterFiles, WEIGHTS_FILE } from '../peft/files.ts';
import type { WeightsSize } from '../peft/header.ts';
import { type AdapterBytes, parseAdapter, placeAdapter } from '../peft/peft.ts';
import { refuseRank } from '../peft/refusal.ts';
import type { AdapterWeights } from '../peft/weights.ts';
import { Composition } from './compose.ts';

/** What is known of an adapter once the headers of its files were read. */
export interface OpenedAdapter {
  /** Of the weights that `load` gives; while it runs it takes one file beside them. */
  readonly byteSize: number;
  load(): Promise<AdapterWeights>;
}

export interface LoadLimits {
  /** Of a file, and of a composition's ranks together. */
  readonly maxRank: number;
  /** Whether the engine could run it if it were alone. */
  canHold(size: Pick<AdapterWeights, 'rank' | 'targets'>): boolean;
}

const FILES: ReadonlySet<string> = new Set([CONFIG_FILE, WEIGHTS_FILE]);

/**
 * Opens adapters for one model: reads headers, and refuses what is too large before anything is loaded.
 * Both steps throw `ServeError`: what `parseAdapter` throws, `adapter_unavailable`, and `adapter_checksum_mismatch` if a
 * folder no longer holds the content that was asked for.
 */
export function createAdapterLoader(
  model: DecoderConfig,
  { maxRank, canHold }: LoadLimits,
): (source: AdapterSource) => Promise<OpenedAdapter> {
  return async ({ digest, parts }) => {
    const sizes: WeightsSize[] = [];
    for (const { directory } of parts) sizes.push(await unchanged(measureAdapterFiles(directory)));
    refuseRank(
      sizes.map(({ rank }) => rank),
      maxRank,
    );
    const size = {
      rank: sizes.reduce((sum, { rank }) => sum + rank, 0),
      targets: TARGET_NAMES.filter((name) => sizes.some(({ targets }) => targets.includes(name))),
    };
    if (!canHold(size)) {
      const message = `adapter refused: rank ${size.rank} takes more memory than adapter slots have`;
      throw new ServeError('adapter_invalid', message, { param: 'r' });
    }
    return {
      byteSize: sizes.reduce((sum, { byteSize }) => sum + byteSize, 0),
      load: () => load({ digest, parts, ranks: sizes.map(({ ranks }) => ranks) }, model),
    };
  };
}

interface Measured extends Pick<AdapterSource, 'digest' | 'parts'> {
  readonly ranks: readonly WeightsSize['ranks'][];
}

async function load(
  { digest, parts, ranks }: Measured,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const [first] = parts;
  if (parts.length === 1 && first!.weight === 1) {
    return { ...(await parseAdapter(await readPart(first!), model)), digest };
  }
  const composition = new Composition(model, ranks);
  for (const part of parts) {
    await placeAdapter(await readPart(part), model, composition.term(part.weight)).catch(
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

/** Whoever gave the digest has read the folder: a file that is missing or too large is a change since then. */
function unchanged<T>(reading: Promise<T>): Promise<T> {
  return reading.catch((error) => {
    const isOfFile = error instanceof ServeError && FILES.has(error.param ?? '');
    throw isOfFile ? changed(error) : error;
  });
}

function changed(cause?: unknown): ServeError {
  const message = 'the adapter is no longer what it was when the request named it';
  return new ServeError('adapter_checksum_mismatch', message, { cause });
}
