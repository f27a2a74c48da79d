// The sampling defaults that an adapter states itself: in a generation_config.json beside its files, and, once it is
// published, in its manifest. They are no part of its digest.
import { FileError } from '../../src/common/errors.ts';
import {
  type GenerationConfig,
  readGenerationConfig,
} from '../../src/contracts/generation-config.ts';
import { invalidAdapter } from '../peft/refusal.ts';
import type { AdapterPlace } from './resolved.ts';

/**
 * What an adapter at this place states; undefined if it states nothing.
 * @throws ServeError `adapter_invalid` that names the field
 */
export async function readAdapterGenerationConfig(
  place: AdapterPlace,
): Promise<GenerationConfig | undefined> {
  if (place.kind === 'version') return place.manifest.generation_config;
  return readFolderGenerationConfig(place.directory);
}

/**
 * The same of a PEFT folder.
 * @throws ServeError `adapter_invalid` that names the field
 */
export async function readFolderGenerationConfig(
  directory: string,
): Promise<GenerationConfig | undefined> {
  try {
    return await readGenerationConfig(directory);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    const { field, message } = error;
    throw invalidAdapter(field, message.slice(field.length + 2));
  }
}
