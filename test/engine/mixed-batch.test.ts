// The engine on the CPU.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from '../../src/engine/engine.ts';
import { servingFolder, tinyModel } from '../fixtures.ts';
import { engineSuite } from './engine-suite.ts';

engineSuite('on the CPU', { provider: 'cpu', limit: 2e-4 });

test('F31: a cache that exceeds the memory limit is refused with the figures', async (t) => {
  const servingDir = await servingFolder(t, tinyModel(), 'f32');
  await assert.rejects(
    Engine.create({ servingDir, slotCount: 1_000_000_000, maxSeqLength: 128 }),
    /KV cache of 1000000000 x 128 positions takes up to [\d.]+ GiB, but the memory limit is [\d.]+ GiB .*Lower --slots or --max-seq/,
  );
});
