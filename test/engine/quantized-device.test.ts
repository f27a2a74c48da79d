// Quantized weights in the memory of a simulated device: CUDA's graphs with NF4 and float16 run on the CPU's kernels
// for the same operators.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openServingFolder } from '../../src/engine/serving-folder.ts';
import type { WeightsMode } from '../../src/model/serving-weights.ts';
import { TARGETS_OF } from '../../src/model/target-modules.ts';
import { servingFolder, tinyAdapter, tinyModel } from '../fixtures.ts';
import { simulateDevice } from '../ort/simulated-device.ts';
import { dequantizedRunner } from './dequantized.ts';
import { createRunner, runLogits, worstDifference } from './runner.ts';

const TOKENS = [5, 17, 3, 90, 41, 8, 8, 63, 22, 71, 1, 30];
const SIZE = { slotCount: 3, maxSeqLength: 32 };
const families = [
  ['llama', {}],
  ['a feed-forward that is no multiple of 64', { intermediate_size: 200 }],
  ['a head of its own', { tie_word_embeddings: false }],
  ['an odd number of blocks of 32', { intermediate_size: 96 }],
  ['qwen2 with biases', { model_type: 'qwen2' }],
  ['qwen3 with head norms', { model_type: 'qwen3', head_dim: 32 }],
] as const;

/** The logits of three runs: a prompt without the adapter, a prompt with it, and a decode step of both together. */
async function runAll({ runner, slots, config }: ReturnType<typeof createRunner>) {
  slots.attach(tinyAdapter(config, { seed: 7, rank: 3, targets: TARGETS_OF.separate }));
  const results: Float32Array[] = [];
  for (const slot of [0, 1]) {
    const logitRows = TOKENS.map((_, i) => i);
    const run = { tokenIds: TOKENS, firstSlot: slot, pastLengths: [0], logitRows };
    results.push(await runLogits(runner, { ...run, slots: [slot] }));
  }
  results.push(
    await runLogits(runner, {
      tokenIds: [9, 9],
      firstSlot: 0,
      pastLengths: [TOKENS.length, TOKENS.length],
      logitRows: [0, 1],
      slots: [0, 1],
    }),
  );
  return results;
}

interface Case {
  readonly provider: 'webgpu' | 'cuda';
  readonly weights: WeightsMode;
  readonly lacksFloat16: boolean;
  readonly limit: number;
}

const cases: [string, Case][] = [
  // No provider uses this combination. It shows how much of the difference is not due to half precision.
  ['NF4, float32', { provider: 'webgpu', weights: 'nf4', lacksFloat16: true, limit: 2e-4 }],
  ['NF4, float16', { provider: 'cuda', weights: 'nf4', lacksFloat16: false, limit: 5e-2 }],
  ['int8, float32', { provider: 'webgpu', weights: 'int8', lacksFloat16: true, limit: 2e-4 }],
  // Only the CPU serves it. Without packed weights its kernel computes in float32.
  ['int4, float32', { provider: 'webgpu', weights: 'int4', lacksFloat16: true, limit: 2e-4 }],
  ['int8, float16', { provider: 'webgpu', weights: 'int8', lacksFloat16: false, limit: 5e-2 }],
];

async function compare(t: TestContext, changes: object, options: Case): Promise<void> {
  const { provider, weights, limit } = options;
  const servingDir = await servingFolder(t, tinyModel({ ...changes }), weights);
  const wanted = await runAll(dequantizedRunner(t, openServingFolder(servingDir), SIZE));
  simulateDevice(t, provider, options);
  const got = await runAll(createRunner(t, servingDir, { ...SIZE, provider }));
  for (const [i, logits] of got.entries()) {
    const worst = worstDifference(logits, wanted[i]!);
    assert.ok(worst < limit, `run ${i} is off by ${worst}`);
  }
}

for (const [form, options] of cases) {
  for (const [family, changes] of families) {
    test(`${form}, ${family}: logits equal those of the dequantized weights`, (t) =>
      compare(t, changes, options));
  }
}

test('int4 on the CPU, with packed weights and activations in 8 bits, is close to the dequantized weights', async (t) => {
  const changes = { hidden_size: 256, intermediate_size: 352, num_attention_heads: 4 };
  const servingDir = await servingFolder(t, tinyModel(changes), 'int4');
  const wanted = await runAll(dequantizedRunner(t, openServingFolder(servingDir), SIZE));
  const got = await runAll(createRunner(t, servingDir, SIZE));
  for (const [i, logits] of got.entries()) {
    const norm = Math.hypot(...wanted[i]!);
    const off = Math.hypot(...logits.map((value, j) => value - wanted[i]![j]!));
    assert.ok(off < 0.05 * norm, `run ${i} is off by ${off} of ${norm}`);
  }
});
