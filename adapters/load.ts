// From a PEFT folder to weights in the engine's layout: read, verify, parse. It caches nothing.
import type { AdapterSource, AdapterSourcePart } from '../src/adapter-source.ts';
import { ServeError } from '../src/errors.ts';
import type { DecoderConfig } from '../src/model/config.ts';
import { composeAdapters } from './compose.ts';
import { readAdapterFiles } from './files.ts';
import { parseAdapter } from './peft.ts';
import type { AdapterWeights } from './weights.ts';

/**
 * Loads adapters for one model. Throws `ServeError`: what `readAdapterFiles` and `parseAdapter` throw, and
 * `adapter_checksum_mismatch` where the folder no longer holds the content that was asked for.
 */
export function createAdapterLoader(
  model: DecoderConfig,
): (source: AdapterSource) => Promise<AdapterWeights> {
  return async ({ digest, parts }) => {
    const loaded = [];
    for (const part of parts) {
      loaded.push({ weights: await loadPart(part, model), weight: part.weight });
    }
    return { ...composeAdapters(loaded), digest };
  };
}

async function loadPart(
  { digest, directory }: AdapterSourcePart,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const files = await readAdapterFiles(directory);
  if (files.digest !== digest) {
    throw new ServeError(
      'adapter_checksum_mismatch',
      'the adapter is no longer what it was when the request named it',
    );
  }
  return parseAdapter(files, model);
}
