// The weights that an artifact computes with, as a checkpoint for transformers: quantized ones are dequantized.
import { cpSync } from 'node:fs';
import path from 'node:path';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { memorySource, writeSafetensors } from '../../src/formats/safetensors.ts';
import { type Artifact, denseValues, readLinear } from '../../src/import/artifact.ts';
import { expectedTensors, weightName } from '../../src/model/names.ts';
import { linearsOf, moduleName } from '../../src/model/target-modules.ts';

/** Writes the artifact's weights as a transformers folder in float32. @param source the checkpoint that it was imported from */
export async function writeDense(
  artifact: Artifact,
  { source, folder }: { readonly source: string; readonly folder: string },
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
