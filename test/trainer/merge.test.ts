// Merging against peft's merge_and_unload, and against plain arithmetic on NF4.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { parseSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact, readLinear } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { dequantizeNf4 } from '../../src/quant/nf4.ts';
import { mergeModel, parseDtype } from '../../trainer/commands/merge.ts';
import { temporaryFolder } from '../fixtures.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const golden = sharedPath('golden');
const skip = skipUnless(golden);

function tensorsOf(file: string): Map<string, Tensor> {
  return parseSafetensors(readFileSync(file)).tensors;
}

function worst(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

interface Merging {
  quantization: 'nf4' | 'none';
  dtype?: string;
}

async function mergeGolden(t: { after(fn: () => void): void }, { quantization, dtype }: Merging) {
  const dir = temporaryFolder(t);
  const base = path.join(dir, 'base');
  const doubleQuantization = true;
  await importModel(path.join(golden!, 'models/llama-tied'), base, {
    quantization,
    doubleQuantization,
  });
  const artifact = readArtifact(base);
  const outDir = path.join(dir, 'merged');
  try {
    const adapter = path.join(golden!, 'adapters/qv');
    await mergeModel(artifact, adapter, { outDir, dtype: parseDtype(dtype) });
  } finally {
    artifact.tensors.close();
  }
  return { base, outDir, tensors: tensorsOf(path.join(outDir, 'model.safetensors')) };
}

test("merged weights are peft's, and the others stay as they are", { skip }, async (t) => {
  const { tensors, outDir } = await mergeGolden(t, { quantization: 'none' });
  const expected = tensorsOf(path.join(golden!, 'merged/qv.safetensors'));
  const source = tensorsOf(path.join(golden!, 'models/llama-tied/model.safetensors'));
  assert.deepEqual([...tensors.keys()].sort(), [...source.keys()].sort());
  assert.ok(expected.size > 0);
  for (const [name, tensor] of tensors) {
    const merged = expected.get(name);
    if (merged) assert.ok(worst(toFloat32(tensor), toFloat32(merged)) < 1e-6, name);
    else assert.deepEqual(Buffer.from(tensor.data), Buffer.from(source.get(name)!.data), name);
  }
  // The folder is a model again.
  await importModel(outDir, path.join(outDir, '../again'), {
    quantization: 'nf4',
    doubleQuantization: true,
  });
});

test('a 16-bit merge rounds every tensor, and config.json says so', { skip }, async (t) => {
  const whole = await mergeGolden(t, { quantization: 'none' });
  const { tensors, outDir } = await mergeGolden(t, { quantization: 'none', dtype: 'bf16' });
  for (const [name, tensor] of tensors) {
    assert.equal(tensor.dtype, 'BF16');
    const exact = toFloat32(whole.tensors.get(name)!);
    const off = toFloat32(tensor).findIndex(
      (value, i) => Math.abs(value - exact[i]!) > Math.abs(exact[i]!) / 256,
    );
    assert.equal(off, -1, name);
  }
  const config = JSON.parse(readFileSync(path.join(outDir, 'config.json'), 'utf8'));
  assert.equal(config.dtype, 'bfloat16');
});

test('an NF4 base is dequantized, merged, and announced as what it then is', {
  skip,
}, async (t) => {
  const { base, outDir, tensors } = await mergeGolden(t, { quantization: 'nf4' });
  const config = JSON.parse(readFileSync(path.join(outDir, 'config.json'), 'utf8'));
  assert.equal(config.quantization_config, undefined);
  const artifact = readArtifact(base);
  const changed = 'model.layers.0.self_attn.q_proj';
  for (const module of ['model.layers.1.mlp.up_proj', changed]) {
    const linear = readLinear(artifact, module);
    assert.ok(linear.kind === 'nf4');
    const plain = dequantizeNf4(linear.packed, linear.absmax, linear.rows * linear.cols);
    const merged = toFloat32(tensors.get(`${module}.weight`)!);
    const source = tensorsOf(path.join(golden!, 'models/llama-tied/model.safetensors'));
    const delta = tensorsOf(path.join(golden!, 'merged/qv.safetensors')).get(`${module}.weight`);
    const before = toFloat32(source.get(`${module}.weight`)!);
    const after = delta ? toFloat32(delta) : before;
    const expected = plain.map((value, i) => value + (after[i]! - before[i]!));
    assert.ok(worst(merged, expected) < 2e-6, module);
  }
  artifact.tensors.close();
});

test('merging into a quantized form is refused with the reason', () => {
  for (const dtype of ['nf4', 'NF4', '4bit', 'int8']) {
    assert.throws(() => parseDtype(dtype), /cannot be merged into .* would round away/);
  }
  assert.throws(() => parseDtype('fp8'), /must be bf16, fp16 or fp32/);
  assert.equal(parseDtype(undefined), undefined);
});
