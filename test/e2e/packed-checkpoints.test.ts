// Checkpoints that compressed-tensors saves become bases of the weights that it expands them to itself.
import assert from 'node:assert/strict';
import path from 'node:path';
import { toFloat32 } from '../../src/common/tensor.ts';
import { openSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { pythonJson, skipWithout } from './python.ts';

const models = sharedPath('golden', 'models');
const skip =
  skipUnless(models) || skipWithout('torch', 'transformers', 'compressed_tensors', 'safetensors');
const test = testUnless(skip);

test('int4, int8 and fp8 of compressed-tensors have the weights that it expands them to', async (t) => {
  const work = temporaryFolder(t);
  const script = path.resolve('test/e2e/packed_checkpoints.py');
  const cases = pythonJson<string[]>([script, path.join(models!, 'llama-tied'), work]);
  assert.ok(cases.length >= 7);
  for (const name of cases) {
    const imported = path.join(work, `${name}-imported`);
    const options = { quantization: 'none', doubleQuantization: false } as const;
    await importModel(path.join(work, name), imported, options);
    const artifact = readArtifact(imported);
    const expected = openSafetensors(path.join(work, `${name}.safetensors`));
    assert.equal(expected.infos.size, 14);
    for (const weight of expected.infos.keys()) {
      const got = toFloat32(artifact.tensors.read(weight));
      assert.deepEqual(got, toFloat32(expected.read(weight)), `${name}: ${weight}`);
    }
    for (const source of [artifact.tensors, expected]) source.close();
  }
});
