// Merging of adapters that are more than updates of linears: the merged model computes what peft computes with the adapter.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { mergeModel } from '../../trainer/commands/merge.ts';
import type { MicroBatch } from '../../trainer/types.ts';
import { worstDifference } from '../engine/runner.ts';
import { readTensors, temporaryFolder } from '../fixtures.ts';
import { openBase } from '../imported-base.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { trainModel } from './tiny-training.ts';

const golden = sharedPath('golden');
const skip = skipUnless(golden);
const LIMIT = 2e-4;

/** Adapter of peft → its base. */
const CASES = {
  'adapters/dora': 'llama-tied',
  'breadth/adapters/dora-all': 'llama-tied',
  'breadth/adapters/dora-rslora': 'qwen3',
  'breadth/adapters/bias-all': 'qwen2',
  'breadth/adapters/save-norms': 'llama-tied',
  'breadth/adapters/token-indices': 'llama-tied',
  'breadth/adapters/lm-head-lora': 'llama-sharded',
  'breadth/adapters/embed-and-head': 'llama-sharded',
} as const;

for (const [folder, base] of Object.entries(CASES)) {
  test(`${folder}, merged: the logits are those of peft`, { skip }, async (t) => {
    const artifact = await openBase(t, path.join(golden!, 'models', base));
    const outDir = path.join(temporaryFolder(t), 'merged');
    const adapter = path.join(golden!, folder);
    await mergeModel(artifact, adapter, { outDir, dtype: 'F32' });
    const model = trainModel(t, { artifact: await openBase(t, outDir) });
    const cases = readTensors(path.join(adapter, 'cases.safetensors'));
    const difference = worstDifference(
      await model.logits(batchOf(cases.get('input_ids')!)),
      toFloat32(cases.get('logits')!),
    );
    assert.ok(difference < LIMIT, `off by ${difference}`);
  });
}

test('adapters that are not changes of tensors of the base are refused by field', {
  skip,
}, async (t) => {
  const refused: Readonly<Record<string, RegExp>> = {
    alora: /alora_invocation_tokens: cannot be merged/,
    'lora-bias': /lora_bias: cannot be merged: .*q_proj has no bias/,
  };
  const artifact = await openBase(t, path.join(golden!, 'models/llama-tied'));
  const outDir = path.join(temporaryFolder(t), 'merged');
  for (const [name, message] of Object.entries(refused)) {
    const adapter = path.join(golden!, 'breadth/adapters', name);
    await assert.rejects(mergeModel(artifact, adapter, { outDir, dtype: 'F32' }), { message });
  }
});

/** Rows of token ids [N, T] as a micro-batch without targets. */
function batchOf({ shape, data }: Tensor): MicroBatch {
  const [rows, length] = shape as [number, number];
  const inputIds = Int32Array.from(new BigInt64Array(new Uint8Array(data).buffer), Number);
  return {
    ...{ rows, length, inputIds },
    positions: inputIds.map((_, i) => i % length),
    segments: new Int32Array(inputIds.length),
    targets: new Int32Array(inputIds.length).fill(-1),
    weights: new Float32Array(inputIds.length),
  };
}
