// An artifact is a prequantized checkpoint to transformers, and its quantized tensors are bitsandbytes' own.
import assert from 'node:assert/strict';
import path from 'node:path';
import { importModel } from '../../src/import/import-model.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { runPython, skipWithout } from './python.ts';

const models = sharedPath('golden', 'models');
const skip =
  skipWithout('torch', 'transformers', 'bitsandbytes', 'safetensors') || skipUnless(models);
const test = testUnless(skip);
const work = temporaryFolder();

const CASES: Record<string, { linears: number; dtype: string }> = {
  'llama-rope-linear': { linears: 14, dtype: 'torch.float32' },
  'llama-bf16': { linears: 21, dtype: 'torch.bfloat16' },
  'llama-sharded': { linears: 14, dtype: 'torch.float32' },
  qwen2: { linears: 14, dtype: 'torch.float32' },
  qwen3: { linears: 14, dtype: 'torch.float32' },
  mistral: { linears: 14, dtype: 'torch.float32' },
};

test('artifacts open in transformers, with the very tensors of bitsandbytes', async () => {
  const pairs: string[] = [];
  for (const name of Object.keys(CASES)) {
    const source = path.join(models!, name);
    const out = path.join(work, name);
    await importModel(source, out, { quantization: 'nf4', doubleQuantization: true });
    pairs.push(out, source);
  }
  const script = path.resolve('test/e2e/open_artifact.py');
  const { out: printed, error, status } = runPython([script, ...pairs]);
  assert.equal(status, 0, error);
  const lines = printed.split('\n').filter((line) => line.startsWith('RESULT '));
  const found = lines.map((line): unknown => JSON.parse(line.slice('RESULT '.length)));
  const expected = Object.values(CASES).map((row) => ({ differing: [], ...row }));
  assert.deepEqual(found, expected);
});
