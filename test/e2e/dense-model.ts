// The weights of an artifact as a transformers folder in float32, for peers that compute NF4 in 16 bits.
import { cpSync } from 'node:fs';
import path from 'node:path';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { memorySource, writeSafetensors } from '../../src/formats/safetensors.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import { expectedTensors, weightName } from '../../src/model/names.ts';
import { linearsOf, moduleName } from '../../src/model/target-modules.ts';

/** Writes the artifact's weights, with the config of its source, into a folder. Returns the folder. */
export async function writeDense(
  artifact: Artifact,
  source: string,
  folder: string,
): Promise<string> {
  const { config, tensors } = artifact;
  const modules = new Map(
    linearsOf(config).map(([layer, of]) => [weightName(layer, of), moduleName(layer, of)]),
  );
  const dense = new Map<string, Tensor>();
  for (const [name, shape] of expectedTensors(config)) {
    const module = modules.get(name);
    const values = module
      ? denseValues(readLinear(artifact, module))
      : toFloat32(tensors.read(name));
    dense.set(name, fromFloat32(values, shape, 'F32'));
  }
  cpSync(path.join(source, 'config.json'), path.join(folder, 'config.json'));
  const metadata = { format: 'pt' };
  await writeSafetensors(path.join(folder, 'model.safetensors'), memorySource(dense), { metadata });
  return folder;
}
