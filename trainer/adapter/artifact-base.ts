// The base for the reader of adapters: the artifact's weights, with the values that adapters are trained on.
import type { AdaptedBase } from '../../adapters/peft/adapted-base.ts';
import { toFloat32 } from '../../src/common/tensor.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import { addProduct, normsOfRows } from './matrix.ts';

/** Returns the weights of an open artifact. */
export function artifactBase(artifact: Pick<Artifact, 'tensors'>): AdaptedBase {
  return {
    async rowNorms(module, { rank, a, b }) {
      const linear = readLinear(artifact, module);
      const values = denseValues(linear).slice();
      const { rows, cols } = linear;
      addProduct({ values, rows, cols }, { rank, a, b });
      return normsOfRows({ values, rows, cols });
    },
    vector: async (name) => toFloat32(artifact.tensors.read(name)),
  };
}
