// The calls that a CUDA engine makes to the runtime: sessions, and allocations with a name, a type and a shape.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SlotId } from '../../src/engine/batch.ts';
import { Engine } from '../../src/engine/engine.ts';
import { openDeviceMemory } from '../../src/engine/memory/device-memory.ts';
import { servingTensors } from '../../src/model/serving-weights.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { type SimulatedDevice, simulateDevice } from '../ort/simulated-device.ts';

/** `ONNXTensorElementDataType` */
const UINT8 = 2;
const FLOAT16 = 10;

const model = tinyModel();
const { layerCount, kvHeadCount, headDim } = model.config;
const SIZE = { slotCount: 3, maxSeqLength: 32 };

function count({ held }: SimulatedDevice, type: number, shape: readonly number[]): number {
  return held().filter((one) => one.type === type && one.shape.join() === shape.join()).length;
}

const prefill = { kind: 'prefill', tokenIds: [4, 5], pastLength: 0, scoring: undefined } as const;

test('weights, cache and adapters are in CUDA memory, once, and old slots are freed', async (t) => {
  const servingDir = await servingFolder(t, model, 'nf4');
  const device = simulateDevice(t, 'cuda');
  const engine = await Engine.create({ servingDir, ...SIZE, runtime: { provider: 'cuda' } });
  t.after(() => engine.release());
  const weights = servingTensors(model.config, 'nf4');
  for (const { type, dims } of weights) {
    const same = weights.filter((one) => one.type === type && one.dims.join() === dims.join());
    const code = type === 'uint8' ? UINT8 : FLOAT16;
    assert.equal(count(device, code, dims), same.length, `${type} [${dims}]`);
  }
  const cacheShape = [SIZE.slotCount, kvHeadCount, SIZE.maxSeqLength, headDim];
  assert.equal(count(device, FLOAT16, cacheShape), 2 * layerCount);
  const run = (adapter: string, slot: number) => {
    const sampler = { sample: () => ({ id: 0 }) };
    return engine.run({ ...prefill, slot: slot as SlotId, adapter, sampler });
  };
  const narrow = tinyAdapter(model.config, { seed: 1, rank: 4, targets: ['q_proj', 'v_proj'] });
  engine.attachAdapter(narrow);
  await run(narrow.digest, 1);
  const matrixA = (rank: number) => [SIZE.slotCount + 1, 1, 3, 64, rank]; // of q, k and v
  assert.equal(count(device, FLOAT16, matrixA(4)), layerCount);
  const before = device.held().length;
  const wide = tinyAdapter(model.config, { seed: 2, rank: 16, targets: TARGETS_OF.separate });
  engine.attachAdapter(wide);
  await run(wide.digest, 2);
  assert.equal(count(device, FLOAT16, matrixA(4)), 0, 'the narrow slots are gone');
  assert.equal(count(device, FLOAT16, matrixA(16)), layerCount);
  await run(narrow.digest, 0);
  const grown = device.held().length;
  for (let i = 0; i < 3; i++) await run(wide.digest, i);
  assert.equal(device.held().length, grown, 'a run allocates nothing that stays');
  assert.ok(grown > before);
});

test('sessions and memory come from CUDA, and its options are released', async (t) => {
  const servingDir = await servingFolder(t, model, 'nf4');
  const { calls } = simulateDevice(t, 'cuda');
  const engine = await Engine.create({ servingDir, ...SIZE, runtime: { provider: 'cuda' } });
  t.after(() => engine.release());
  const of = (name: string) => calls.filter((call) => call.name === name).map(({ args }) => args);
  const appended = of('SessionOptionsAppendExecutionProvider_CUDA_V2').length;
  assert.ok(appended >= 5, 'a probe, graphs that copy, the model');
  assert.equal(of('CreateCUDAProviderOptions').length, appended);
  assert.equal(of('ReleaseCUDAProviderOptions').length, appended);
  assert.equal(of('SessionOptionsAppendExecutionProvider').length, 0);
  const [memory] = of('CreateMemoryInfo');
  // OrtDeviceAllocator, device 0, OrtMemTypeDefault
  if (memory) assert.deepEqual(memory.slice(0, 4), ['Cuda', 0, 0, 0]);
});

test('the error for a missing provider says what to do, and the reason', () => {
  assert.throws(
    () => openDeviceMemory('cuda'),
    /--provider: cuda is not available on this machine \(.+\)\. It needs an NVIDIA driver.*or use --provider cpu\./,
  );
});
