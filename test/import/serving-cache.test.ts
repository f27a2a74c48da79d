import assert from 'node:assert/strict';
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  builtFolders,
  discardChecksums,
  findFault,
  findQuickFault,
  isBuilt,
  servingFolder,
  whyNotBuilt,
} from '../../src/import/serving-cache.ts';
import { buildServingFiles } from '../../src/import/serving-files.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';

/** A file of 3 MB. The sample covers 1 MB of it. */
const model = tinyModel({ vocab_size: 40_000, tie_word_embeddings: true });

function build(t: TestContext) {
  const options = { weights: 'int8', cacheDir: temporaryFolder(t) } as const;
  return ensureServingFiles(model.artifact, options).then((dir) => ({ dir, options }));
}

function flip(file: string, position: number): void {
  const bytes = readFileSync(file);
  bytes[position]! ^= 1;
  writeFileSync(file, bytes);
}

test('an unchanged folder has no fault', async (t) => {
  const { dir } = await build(t);
  assert.equal(findQuickFault(dir), undefined);
  assert.equal(await findFault(dir), undefined);
});

test('a flipped bit is found by the full check, and by the quick one if it is in the sample', async (t) => {
  const { dir } = await build(t);
  const file = path.join(dir, 'weights.bin');
  const fault = { file: 'weights.bin', reason: 'its SHA-256 differs' };
  flip(file, 12_000);
  assert.equal(findQuickFault(dir), undefined);
  assert.deepEqual(await findFault(dir, { bytesPerSecond: 1e9 }), fault);
  flip(file, 12_000);
  assert.equal(await findFault(dir), undefined);
  for (const position of [0, readFileSync(file).length - 1]) {
    flip(file, position);
    assert.equal(findQuickFault(dir)?.file, 'weights.bin');
    flip(file, position);
  }
});

test('the quick check names a truncated, missing or unreadable file', async (t) => {
  const { dir, options } = await build(t);
  const at = (name: string) => path.join(dir, name);
  const damages: Record<string, () => void> = {
    'weights.bin': () => truncateSync(at('weights.bin'), 100),
    'layout.json': () => flip(at('layout.json'), 5),
    'checksums.json': () => writeFileSync(at('checksums.json'), '{}'),
  };
  for (const [file, damage] of Object.entries(damages)) {
    damage();
    assert.equal(findQuickFault(dir)?.file, file);
    assert.equal((await findFault(dir))?.file, file);
    await buildServingFiles(model.artifact, options);
    assert.equal(findQuickFault(dir), undefined);
  }
  rmSync(at('weights.bin'));
  assert.match(findQuickFault(dir)!.reason, /ENOENT/);
});

test('the forms of a base are listed, and why one is not built', async (t) => {
  const { dir, options } = await build(t);
  const { digest } = model.artifact.info;
  const { cacheDir } = options;
  const builtForms = (id: string, folder: string) =>
    builtFolders(id, folder).map(({ weights }) => weights);
  assert.deepEqual(builtForms(digest, cacheDir), ['int8']);
  assert.deepEqual(builtFolders(digest, cacheDir), [{ weights: 'int8', folder: dir }]);
  await ensureServingFiles(model.artifact, { weights: 'nf4', cacheDir });
  assert.deepEqual(builtForms(digest, cacheDir), ['int8', 'nf4']);
  assert.deepEqual(builtForms(digest, path.join(cacheDir, 'absent')), []);
  const missing = servingFolder(digest, { weights: 'int4', cacheDir });
  assert.match(whyNotBuilt(missing), /only in other forms: \w+-int8-v\d+, \w+-nf4-v\d+\.$/);
  const newer = servingFolder(digest, options).replace(/\d+$/, '99');
  assert.equal(whyNotBuilt(newer), `${dir} has the layout of another version.`);
  await discardChecksums(dir);
  assert.equal(whyNotBuilt(dir), `${dir} is incomplete or damaged.`);
});

test('a folder without checksums counts as incomplete', async (t) => {
  const { dir } = await build(t);
  assert.ok(isBuilt(dir));
  await discardChecksums(dir);
  assert.ok(!isBuilt(dir));
});
