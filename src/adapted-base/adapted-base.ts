// The base's weights for the reader of adapters, from the artifact: with the values that adapters were trained on, whatever the form
// in which the base is served.
import type { AdaptedBase } from '../../adapters/peft/adapted-base.ts';
import { lazy } from '../common/lazy.ts';
import { toFloat32 } from '../common/tensor.ts';
import { type Artifact, denseValues, readArtifact, readLinear } from '../import/artifact.ts';
import { rowNorms } from './row-norms.ts';

/** Returns the weights of an open artifact. */
export function adaptedBaseOf(artifact: Pick<Artifact, 'tensors'>): Required<AdaptedBase> {
  return {
    async rowNorms(module, update) {
      const linear = readLinear(artifact, module);
      return rowNorms({ ...linear, values: denseValues(linear) }, update);
    },
    vector: async (name) => toFloat32(artifact.tensors.read(name)),
    table: async (name) => artifact.tensors.read(name),
  };
}

/** Does the same for training and merging, which an adapter with a resized vocabulary is refused for. */
export function trainableBaseOf(artifact: Pick<Artifact, 'tensors'>): AdaptedBase {
  const { table: _, ...base } = adaptedBaseOf(artifact);
  return base;
}

/** Returns the weights of the artifact in a folder, which the first adapter that needs them opens. It stays open. */
export function adaptedBaseIn(dir: string): AdaptedBase {
  const weights = lazy(async () => adaptedBaseOf(readArtifact(dir)));
  return {
    rowNorms: async (module, update) => (await weights.get()).rowNorms(module, update),
    vector: async (name) => (await weights.get()).vector(name),
    table: async (name) => (await weights.get()).table(name),
  };
}
