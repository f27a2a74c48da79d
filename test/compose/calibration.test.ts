// What is measured on the committed base: the scales of an int8 KV cache, and the row form of int8 weights.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { measureKvScales, perTokenCalibration } from '../../src/compose/calibration.ts';
import { openServingFolder, readKvScales } from '../../src/engine/serving-folder.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { KV_SCALES_FILE } from '../../src/model/kv-scales.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder } from '../fixtures.ts';

test('they are kept beside the serving files, unless the base has no tokenizer', async (t) => {
  const artifact = readArtifact('models/toy');
  t.after(() => artifact.tensors.close());
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'int8', cacheDir });
  assert.equal(await measureKvScales(servingDir, { artifactDir: cacheDir, runtime: {} }), false);
  assert.equal(existsSync(path.join(servingDir, KV_SCALES_FILE)), false);
  assert.equal(await measureKvScales(servingDir, { artifactDir: 'models/toy', runtime: {} }), true);
  const scales = readKvScales(servingDir, artifact.config);
  assert.ok(scales.every((scale) => scale > 0 && scale < 1));
});

test('int8 serving files have the per-token form, unless the base has no tokenizer', async (t) => {
  const artifact = readArtifact('models/toy');
  t.after(() => artifact.tensors.close());
  for (const [artifactDir, hasRowForm] of [
    ['models/toy', true],
    [temporaryFolder(t), false],
  ] as const) {
    const calibration = await perTokenCalibration({ artifactDir, runtime: {} });
    const options = { weights: 'int8', cacheDir: temporaryFolder(t), calibration } as const;
    const served = openServingFolder(await ensureServingFiles(artifact, options));
    assert.equal(served.rowForm !== undefined, hasRowForm);
    assert.equal(
      served.tensors.has('layers.0.mlp_in.q8'),
      !hasRowForm,
      'each linear is there once',
    );
  }
});
