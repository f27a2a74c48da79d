// Which form of int8 weights a start uses if the serving files were built on another kind of CPU.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { packingOfFiles } from '../../src/compose/prepared-base.ts';
import { type Int8Hardware, usablePackings } from '../../src/engine/int8-form.ts';
import type { RowPacking } from '../../src/model/row-weights.ts';
import { ensureServingFiles } from '../ensure-serving-files.ts';
import { temporaryFolder, tinyModel } from '../fixtures.ts';

const VNNI: Int8Hardware = { features: ['avx512-vnni'], ownInstructions: 'avx512-vnni' };
const AMX: Int8Hardware = { features: ['amx', 'avx512-vnni'], ownInstructions: 'avx512-vnni' };
const ARM: Int8Hardware = { features: ['i8mm'], ownInstructions: undefined };

/** Returns the packing that a start on this hardware uses if files of these packings are built. */
async function packingUsed(t: TestContext, built: readonly RowPacking[], hardware: Int8Hardware) {
  const { artifact } = tinyModel();
  const { config } = artifact;
  const cache = { weights: 'int8', cacheDir: temporaryFolder(t) } as const;
  for (const packing of built) await ensureServingFiles(artifact, { ...cache, packing });
  const base = { config, weights: 'int8', provider: 'cpu' } as const;
  return packingOfFiles(usablePackings(base, hardware), artifact.info.digest, cache);
}

test('files that were built for another kind of CPU are used if this one computes them well', async (t) => {
  for (const [hardware, built, expected] of [
    [AMX, ['packed'], 'packed'],
    [AMX, ['packed', 'plain'], 'plain'],
    [AMX, [], 'plain'],
    [VNNI, ['packed'], 'packed'],
    [VNNI, ['plain'], 'packed'],
    [ARM, ['packed'], 'plain'],
  ] as const) {
    assert.equal(await packingUsed(t, built, hardware), expected, `${built}`);
  }
});
