// The scales of an int8 KV cache, measured on the committed base.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { measureKvScales } from '../../src/compose/kv-scales.ts';
import { readKvScales } from '../../src/engine/serving-folder.ts';
import { readArtifact } from '../../src/import/artifact.ts';
import { ensureServingFiles } from '../../src/import/serving-files.ts';
import { KV_SCALES_FILE } from '../../src/model/kv-scales.ts';
import { temporaryFolder } from '../fixtures.ts';

test('they are kept beside the serving files, unless the base has no tokenizer', async (t) => {
  const artifact = readArtifact('models/toy');
  t.after(() => artifact.tensors.close());
  const cacheDir = temporaryFolder(t);
  const servingDir = await ensureServingFiles(artifact, { weights: 'int8', cacheDir });
  assert.equal(await measureKvScales({ artifactDir: cacheDir, servingDir }), false);
  assert.equal(existsSync(path.join(servingDir, KV_SCALES_FILE)), false);
  assert.equal(await measureKvScales({ artifactDir: 'models/toy', servingDir }), true);
  const scales = readKvScales(servingDir, artifact.config);
  assert.ok(scales.every((scale) => scale > 0 && scale < 1));
});
