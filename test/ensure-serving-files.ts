// The serving files of an artifact for a test: built unless they are there.
import type { Artifact } from '../src/import/artifact.ts';
import { isBuilt, servingFolder } from '../src/import/serving-cache.ts';
import { buildServingFiles } from '../src/import/serving-files.ts';

/** Returns their folder. */
export async function ensureServingFiles(
  artifact: Artifact,
  options: Parameters<typeof buildServingFiles>[1],
): Promise<string> {
  const dir = servingFolder(artifact.info.digest, options);
  if (!isBuilt(dir)) await buildServingFiles(artifact, options);
  return dir;
}
