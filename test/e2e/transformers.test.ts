// An artifact is a prequantized checkpoint to transformers, and its quantized tensors are bitsandbytes' own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { importModel } from '../../src/import/import-model.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const python = process.env['LORIKEET_PYTHON'] ?? 'python3';
const models = sharedPath('golden', 'models');

/** The reason not to run, or false. */
function skipReason(): string | false {
  const probe = spawnSync(python, ['-c', 'import torch, transformers, bitsandbytes, safetensors']);
  if (probe.status === 0) return skipUnless(models);
  return `${python} has no torch, transformers and bitsandbytes (LORIKEET_PYTHON names another)`;
}

const skip = skipReason();
const work = mkdtempSync(path.join(tmpdir(), 'transformers-'));
test.after(() => rmSync(work, { recursive: true }));

const CASES: Record<string, { linears: number; dtype: string }> = {
  'llama-rope-linear': { linears: 14, dtype: 'torch.float32' },
  'llama-bf16': { linears: 21, dtype: 'torch.bfloat16' },
  'llama-sharded': { linears: 14, dtype: 'torch.float32' },
  qwen2: { linears: 14, dtype: 'torch.float32' },
  qwen3: { linears: 14, dtype: 'torch.float32' },
  mistral: { linears: 14, dtype: 'torch.float32' },
};

test('artifacts open in transformers, with the very tensors of bitsandbytes', {
  skip,
}, async () => {
  const pairs: string[] = [];
  for (const name of Object.keys(CASES)) {
    const source = path.join(models!, name);
    const out = path.join(work, name);
    await importModel(source, out, { quantization: 'nf4', doubleQuantization: true });
    pairs.push(out, source);
  }
  const script = path.resolve('test/e2e/open_artifact.py');
  const { stdout, stderr, status } = spawnSync(python, [script, ...pairs], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const lines = stdout.split('\n').filter((line) => line.startsWith('RESULT '));
  const found = lines.map((line): unknown => JSON.parse(line.slice('RESULT '.length)));
  const expected = Object.values(CASES).map((row) => ({ differing: [], ...row }));
  assert.deepEqual(found, expected);
});
