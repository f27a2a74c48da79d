// Prepares a base as the server does on this processor, for tests and benchmarks that run an engine without a server.
import { perTokenCalibration } from '../src/compose/calibration.ts';
import type { EngineOptions } from '../src/engine/engine.ts';
import { cacheType, roundOnAllCores, usablePackings } from '../src/engine/int8-form.ts';
import { readArtifact } from '../src/import/artifact.ts';
import type { ServingCache } from '../src/import/serving-cache.ts';
import { ensureServingFiles } from './ensure-serving-files.ts';

/** Builds the serving files if necessary. Returns the options of an engine over them. */
export async function defaultServing(
  artifactDir: string,
  cache: ServingCache,
): Promise<Pick<EngineOptions, 'servingDir' | 'kv'>> {
  const artifact = readArtifact(artifactDir);
  try {
    const { config } = artifact;
    const served = { config, weights: cache.weights, provider: 'cpu' } as const;
    const [packing] = usablePackings(served);
    const isSmoothed = packing && cache.weights === 'int8';
    const calibration = isSmoothed && (await perTokenCalibration({ artifactDir, runtime: {} }));
    const form = {
      packing,
      calibration: calibration || undefined,
      roundToRecords: roundOnAllCores,
    };
    const servingDir = await ensureServingFiles(artifact, { ...cache, ...form });
    return { servingDir, kv: cacheType('f16', packing) };
  } finally {
    artifact.tensors.close();
  }
}
