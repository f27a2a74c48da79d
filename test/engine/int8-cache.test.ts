// The int8 KV cache: rounding and attention against the plain decoder, moves, and values that are not finite.
import assert from 'node:assert/strict';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { SlotId } from '../../src/engine/batch.ts';
import { measureKvMaxima } from '../../src/engine/calibration.ts';
import { Engine } from '../../src/engine/engine.ts';
import { KvCache } from '../../src/engine/kv-cache.ts';
import { HOST_MEMORY } from '../../src/engine/memory/host-memory.ts';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import {
  calibratedScales,
  KV_SCALES_FILE,
  kvScaleCount,
  scaleOf,
} from '../../src/model/kv-scales.ts';
import { embeddingName } from '../../src/model/names.ts';
import { targetNames } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel, writeKvScales } from '../fixtures.ts';
import { type CachedRow, plainLogits } from '../model/plain-decoder.ts';
import { TINY_FAMILIES } from '../model/tiny-families.ts';
import { engineSuite } from './engine-suite.ts';
import { runLogits, runnerOf, worstDifference } from './runner.ts';

const TOKENS = [5, 17, 3, 90, 41, 8, 8, 63, 22, 71, 1, 30];
const SIZE = { slotCount: 3, maxSeqLength: 32 };

engineSuite('with an int8 cache', { provider: 'cpu', limit: 0.25, cachedUpTo: 8 });

type At = Parameters<CachedRow>[1];
const firstChannel = ({ kvHeadCount, headDim }: DecoderConfig, { layer, half, head }: At) =>
  ((2 * layer + (half === 'key' ? 0 : 1)) * kvHeadCount + head) * headDim;

/** The largest magnitudes of all cached values of a sequence. */
function maximaOf(model: ReturnType<typeof tinyModel>): Float32Array<ArrayBuffer> {
  const maxima = new Float32Array(kvScaleCount(model.config));
  plainLogits(model.config, model.weights, TOKENS, undefined, (row, at) => {
    row.forEach((value, i) => {
      const channel = firstChannel(model.config, at) + i;
      maxima[channel] = Math.max(maxima[channel]!, Math.abs(value));
    });
    return row;
  });
  return maxima;
}

/** Rounds half to even, as the processor does. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

const rounded =
  (config: DecoderConfig, scales: Float32Array): CachedRow =>
  (row, at) =>
    row.map((value, i) => {
      const scale = scales[firstChannel(config, at) + i]!;
      return scale * Math.max(-128, Math.min(127, roundEven(value / scale)));
    });

for (const [name, changes] of TINY_FAMILIES) {
  test(`${name}: logits equal those of a plain decoder that rounds keys and values`, async (t) => {
    const model = tinyModel(changes, 3); // no value lies within rounding of the edge between two codes
    const { config } = model;
    const served = openServingFolder(await servingFolder(t, model, 'f32'));
    const adapter = tinyAdapter(config, { seed: 7, rank: 3, targets: targetNames(config) });
    // Half of the range clips the largest values.
    for (const margin of [1.5, 0.5]) {
      const scales = maximaOf(model).map((max) => scaleOf(margin * max));
      const { runner, slots } = runnerOf(t, served, { ...SIZE, memory: HOST_MEMORY, scales });
      slots.attach(adapter);
      for (const [slot, weights] of [
        [0, undefined],
        [1, adapter],
      ] as const) {
        const want = plainLogits(config, model.weights, TOKENS, weights, rounded(config, scales));
        for (const chunk of [TOKENS.length, 5, 1]) {
          for (let past = 0; past < TOKENS.length; past += chunk) {
            const tokenIds = TOKENS.slice(past, past + chunk);
            const logitRows = tokenIds.map((_, i) => i);
            const run = { tokenIds, firstSlot: 1, pastLengths: [past], logitRows };
            const input = { ...run, slots: [slot] };
            const got = await runLogits(runner, input);
            const worst = worstDifference(got, want.slice(past, past + chunk).flat());
            assert.ok(worst < 3e-4, `margin ${margin}, chunk ${chunk}: ${worst}`);
          }
        }
      }
    }
  });
}

test('a slot is moved and zeroed byte by byte, and others keep their values', () => {
  const { config } = tinyModel();
  const scales = new Float32Array(kvScaleCount(config)).fill(1);
  const cache = new KvCache(config, { ...SIZE, scales });
  const bytesOf = (slot: number) =>
    cache.range(slot, 1).flatMap(({ key, value }) => [key.data as Int8Array, value.data]);
  for (const slot of [0, 1, 2]) for (const data of bytesOf(slot)) data.fill((slot - 4) as never);
  cache.move(2 as SlotId, 0 as SlotId, 3);
  for (const data of bytesOf(0)) {
    for (let i = 0; i < data.length; i++) {
      const position = Math.floor(i / config.headDim) % SIZE.maxSeqLength;
      assert.equal(data[i], position < 3 ? -2 : -4);
    }
  }
  cache.zero(2 as SlotId);
  assert.ok(bytesOf(2).every((data) => data.every((value) => value === 0)));
  assert.ok(bytesOf(1).every((data) => data.every((value) => value === -3)));
});

test('a token is cached in a quarter of the bytes', () => {
  const { config } = tinyModel();
  const bytes = (type: 'int8' | 'f32') => KvCache.byteSize(config, { ...SIZE, type });
  assert.equal(4 * bytes('int8'), bytes('f32'));
});

const prefill = (tokenIds: readonly number[], pastLength: number) =>
  ({
    kind: 'prefill',
    slot: 0 as SlotId,
    adapter: undefined,
    tokenIds,
    pastLength,
    sampler: undefined,
    scoring: undefined,
  }) as const;

for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`a ${value} in the middle of a prompt ends it, because the cache cannot hold it`, async (t) => {
    const model = tinyModel({ tie_word_embeddings: false });
    const { hiddenSize } = model.config;
    const [good, bad] = [7, 90];
    model.weights(embeddingName)[bad! * hiddenSize] = value;
    const servingDir = await servingFolder(t, model, 'f32');
    writeKvScales(servingDir, model.config, 8);
    const engine = await Engine.create({ servingDir, ...SIZE, kv: 'int8' });
    t.after(() => engine.release());
    assert.deepEqual((await engine.run(prefill([good!, good!], 0))).rows, []);
    const failed = await engine.run(prefill([good!, bad!, good!], 2));
    assert.deepEqual(failed.rows, [[{ ok: false, reason: 'non_finite' }]]);
    assert.deepEqual((await engine.run(prefill([good!, good!], 0))).rows, []);
  });
}

test('scales that are missing or of another model are refused', async (t) => {
  const model = tinyModel();
  const servingDir = await servingFolder(t, model, 'f32');
  const file = path.join(servingDir, KV_SCALES_FILE);
  writeKvScales(servingDir, model.config, 8);
  const create = () => Engine.create({ servingDir, ...SIZE, kv: 'int8' });
  truncateSync(file, 7);
  await assert.rejects(create(), /kv-scales\.bin: 7 bytes do not fit the model\. Delete it/);
  writeFileSync(file, new Float32Array(kvScaleCount(model.config)).fill(Number.NaN));
  await assert.rejects(create(), /kv-scales\.bin: a scale is not positive/);
  rmSync(file);
  await assert.rejects(create(), /kv-scales\.bin/);
});

test('a calibration run finds the longest pairs of keys and the largest values', async (t) => {
  const model = tinyModel();
  const { config } = model;
  const half = config.headDim / 2;
  const want = new Float32Array(kvScaleCount(config));
  plainLogits(config, model.weights, TOKENS, undefined, (row, at) => {
    row.forEach((value, i) => {
      const partner = row[(i + half) % config.headDim]!;
      const magnitude = at.half === 'key' ? Math.hypot(value, partner) : Math.abs(value);
      const channel = firstChannel(config, at) + i;
      want[channel] = Math.max(want[channel]!, magnitude);
    });
    return row;
  });
  const layers = await measureKvMaxima(await servingFolder(t, model, 'f32'), TOKENS);
  const found = layers.flatMap(({ key, value }) => [...key, ...value]);
  assert.ok(worstDifference(Float32Array.from(found), want) < 1e-5);
  const scales = calibratedScales(layers);
  scales.forEach((scale, i) => {
    assert.ok(127 * scale > want[i]! && 127 * scale < 2 * want[i]!, `channel ${i}`);
  });
});
