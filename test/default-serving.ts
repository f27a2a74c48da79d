// Prepares a base as the server does on this processor, for tests and benchmarks that run an engine without a server.
// LORIKEET_INT8_SCALES chooses the form of int8 weights for them, too.
import { perTokenCalibration } from '../src/compose/calibration.ts';
import type { EngineOptions } from '../src/engine/engine.ts';
import { chooseInt8Form, int8Hardware } from '../src/engine/int8-form.ts';
import { baseBytes } from '../src/engine/memory/memory-budget.ts';
import { readArtifact } from '../src/import/artifact.ts';
import type { ServingCache } from '../src/import/serving-cache.ts';
import { ensureServingFiles } from '../src/import/serving-files.ts';
import { SETTINGS } from '../src/settings/settings.ts';

/** Builds the serving files if necessary. Returns the options of an engine over them. */
export async function defaultServing(
  artifactDir: string,
  cache: ServingCache,
): Promise<Pick<EngineOptions, 'servingDir' | 'int8Scales'>> {
  const artifact = readArtifact(artifactDir);
  try {
    const byteSize = baseBytes(artifact.config, cache.weights);
    const chosen = SETTINGS.int8Scales.schema.parse(process.env[SETTINGS.int8Scales.env]);
    const served = {
      config: artifact.config,
      weights: cache.weights,
      provider: 'cpu',
      byteSize,
      int8Scales: chosen,
    } as const;
    const form = chooseInt8Form(served, int8Hardware());
    const calibration = perTokenCalibration({ artifactDir, runtime: {} });
    const files = { ...cache, packing: form?.packing, calibration };
    const servingDir = await ensureServingFiles(artifact, files);
    return { servingDir, ...(form && { int8Scales: form.scales }) };
  } finally {
    artifact.tensors.close();
  }
}
