// From a PEFT folder to weights in the engine's layout: read, verify, parse. It caches nothing.
import type { AdapterSource, AdapterSourcePart } from '../src/adapter-source.ts';
import { ServeError } from '../src/errors.ts';
import type { DecoderConfig } from '../src/model/config.ts';
import { composeAdapters } from './compose.ts';
import { readAdapterFiles } from './files.ts';
import { parseAdapter } from './peft.ts';
import type { AdapterWeights } from './weights.ts';

/**
 * Loads adapters for one model. Throws `ServeError`: what `parseAdapter` throws, `adapter_unavailable`, and
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
    return { ...(await composeAdapters(loaded)), digest };
  };
}

async function loadPart(
  { digest, directory }: AdapterSourcePart,
  model: DecoderConfig,
): Promise<AdapterWeights> {
  const files = await readAdapterFiles(directory).catch((error) => {
    // Whoever gave the digest has read the folder: a fault of its files is a change since then.
    throw error instanceof ServeError && error.status === 422 ? changed(error) : error;
  });
  if (files.digest !== digest) throw changed();
  return parseAdapter(files, model);
}

function changed(cause?: unknown): ServeError {
  const message = 'the adapter is no longer what it was when the request named it';
  return new ServeError('adapter_checksum_mismatch', message, { cause });
}
