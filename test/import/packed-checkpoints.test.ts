// Checkpoints of other quantization methods, packed here one value at a time, become bases of their exact values.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact, readLinear } from '../../src/import/artifact.ts';
import { isLinearWeight } from '../../src/import/checkpoint.ts';
import { importModel } from '../../src/import/import-model.ts';
import { seededRandom, temporaryFolder } from '../fixtures.ts';
import { plainAbsmax, plainPacked } from '../quant/plain-nf4.ts';
import { TINY_CONFIG, tinyTensors } from './tiny-model.ts';

const random = seededRandom(7);
/** A whole number from 0 to count - 1. */
const pick = (count: number) => Math.floor(((random() + 1) / 2) * count);

/** A weight as some library stores it: its tensors by the end of their names, and its exact values [out * in]. */
interface Packed {
  readonly parts: Readonly<Record<string, Tensor>>;
  readonly values: Float32Array;
}

type Pack = (outputs: number, inputs: number) => Packed;

const floats = (shape: number[], value: () => number, dtype: 'F32' | 'F16' | 'BF16' = 'F16') =>
  fromFloat32(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, value), shape, dtype);
const scaleOf = () => 0.001 + 0.01 * Math.abs(random());
const bytes = (dtype: 'F8_E4M3' | 'I8', shape: number[], data: Uint8Array): Tensor => ({
  dtype,
  shape,
  data,
});
const int32 = (values: readonly number[]): Tensor => ({
  dtype: 'I32',
  shape: [values.length],
  data: new Uint8Array(Int32Array.from(values).buffer),
});
const valuesOf = (outputs: number, inputs: number, at: (o: number, i: number) => number) =>
  Float32Array.from({ length: outputs * inputs }, (_, k) => at(Math.floor(k / inputs), k % inputs));

/** Packs codes into words: `place` gives the word and the position in it. */
function words(
  shape: readonly [number, number],
  bits: number,
  codes: Iterable<readonly [word: number, position: number, code: number]>,
): Tensor {
  const packed = new Uint32Array(shape[0] * shape[1]);
  for (const [word, position, code] of codes) packed[word]! |= code << (position * bits);
  return { dtype: 'I32', shape, data: new Uint8Array(packed.buffer) };
}

const grid = (rows: number, cols: number, limit: number) =>
  Array.from({ length: rows }, () => Array.from({ length: cols }, () => pick(limit)));
const each = function* <T>(
  rows: readonly (readonly number[])[],
  place: (row: number, col: number, code: number) => T,
) {
  for (const [row, cols] of rows.entries()) {
    for (const [col, code] of cols.entries()) yield place(row, col, code);
  }
};

/** The value of an fp8 byte, from the bits as text. */
function e4m3(byte: number): number {
  const bits = byte.toString(2).padStart(8, '0');
  const sign = bits[0] === '1' ? -1 : 1;
  const [exponent, mantissa] = [parseInt(bits.slice(1, 5), 2), parseInt(bits.slice(5), 2)];
  return exponent === 0 ? (sign * mantissa) / 512 : (sign * (8 + mantissa) * 2 ** exponent) / 1024;
}

function fp8(scaleName: string, scaleShape: (o: number, i: number) => number[], blocks?: number) {
  return (outputs: number, inputs: number): Packed => {
    const codes = Uint8Array.from({ length: outputs * inputs }, () => {
      const code = pick(256);
      return (code & 0x7f) === 0x7f ? 0 : code; // not NaN
    });
    const shape = scaleShape(outputs, inputs);
    const scales = floats(shape, scaleOf, blocks ? 'F32' : 'BF16');
    const table = toFloat32(scales);
    const scaleAt = (o: number, i: number) => {
      if (blocks) return table[Math.floor(o / blocks) * shape[1]! + Math.floor(i / blocks)]!;
      return table[table.length === 1 ? 0 : o]!;
    };
    return {
      parts: {
        weight: bytes('F8_E4M3', [outputs, inputs], codes),
        [scaleName]: scales,
        input_scale: floats([1], scaleOf, 'F32'),
      },
      values: valuesOf(outputs, inputs, (o, i) => e4m3(codes[o * inputs + i]!) * scaleAt(o, i)),
    };
  };
}

const AWQ_COLUMNS = [0, 2, 4, 6, 1, 3, 5, 7];
const awq: Pack = (outputs, inputs) => {
  const groups = inputs / 32;
  const codes = grid(inputs, outputs, 16);
  const zeros = grid(groups, outputs, 16);
  const scales = floats([groups, outputs], scaleOf);
  const table = toFloat32(scales);
  const place = (row: number, col: number, code: number) =>
    [row * (outputs / 8) + Math.floor(col / 8), AWQ_COLUMNS.indexOf(col % 8), code] as const;
  return {
    parts: {
      qweight: words([inputs, outputs / 8], 4, each(codes, place)),
      qzeros: words([groups, outputs / 8], 4, each(zeros, place)),
      scales,
    },
    values: valuesOf(outputs, inputs, (o, i) => {
      const group = Math.floor(i / 32);
      return (codes[i]![o]! - zeros[group]![o]!) * table[group * outputs + o]!;
    }),
  };
};

function gptq({ bits, ordered, offset }: { bits: number; ordered: boolean; offset: number }): Pack {
  return (outputs, inputs) => {
    const groups = inputs / 32;
    const per = 32 / bits;
    const limit = 2 ** bits;
    const groupOf = Array.from({ length: inputs }, (_, i) =>
      ordered ? Math.floor(i / 32) : (i * 7) % groups,
    );
    const codes = grid(inputs, outputs, limit);
    const zeros = grid(groups, outputs, limit - offset);
    const scales = floats([groups, outputs], scaleOf);
    const table = toFloat32(scales);
    return {
      parts: {
        qweight: words(
          [inputs / per, outputs],
          bits,
          each(codes, (i, o, code) => [Math.floor(i / per) * outputs + o, i % per, code]),
        ),
        qzeros: words(
          [groups, outputs / per],
          bits,
          each(zeros, (g, o, zero) => [g * (outputs / per) + Math.floor(o / per), o % per, zero]),
        ),
        scales,
        ...(!ordered && {
          g_idx: int32(groupOf),
        }),
      },
      values: valuesOf(outputs, inputs, (o, i) => {
        const group = groupOf[i]!;
        return (codes[i]![o]! - (zeros[group]![o]! + offset)) * table[group * outputs + o]!;
      }),
    };
  };
}

function compressed({ isSymmetric, isReordered }: { isSymmetric: boolean; isReordered: boolean }) {
  return (outputs: number, inputs: number): Packed => {
    const groups = inputs / 32;
    const groupOf = Array.from({ length: inputs }, (_, i) =>
      isReordered ? (i * 7) % groups : Math.floor(i / 32),
    );
    const codes = grid(outputs, inputs, 16);
    const zeros = grid(outputs, groups, 16);
    const scales = floats([outputs, groups], scaleOf, 'BF16');
    const table = toFloat32(scales);
    return {
      parts: {
        weight_packed: words(
          [outputs, inputs / 8],
          4,
          each(codes, (o, i, code) => [o * (inputs / 8) + Math.floor(i / 8), i % 8, code]),
        ),
        weight_scale: scales,
        weight_shape: {
          dtype: 'I64',
          shape: [2],
          data: new Uint8Array(BigInt64Array.of(BigInt(outputs), BigInt(inputs)).buffer),
        },
        ...(!isSymmetric && {
          weight_zero_point: words(
            [outputs / 8, groups],
            4,
            each(zeros, (o, g, zero) => [Math.floor(o / 8) * groups + g, o % 8, zero]),
          ),
        }),
        ...(isReordered && { weight_g_idx: int32(groupOf) }),
      },
      values: valuesOf(outputs, inputs, (o, i) => {
        const group = groupOf[i]!;
        const zero = isSymmetric ? 8 : zeros[o]![group]!;
        return (codes[o]![i]! - zero) * table[o * groups + group]!;
      }),
    };
  };
}

const int8: Pack = (outputs, inputs) => {
  const codes = Int8Array.from({ length: outputs * inputs }, () => pick(255) - 127);
  const scales = floats([outputs], scaleOf, 'F32');
  const table = toFloat32(scales);
  return {
    parts: {
      weight: bytes('I8', [outputs, inputs], new Uint8Array(codes.buffer)),
      SCB: scales,
      weight_format: { dtype: 'U8', shape: [], data: Uint8Array.of(0) },
    },
    values: valuesOf(outputs, inputs, (o, i) => {
      return Math.fround(codes[o * inputs + i]! * table[o]!) * Math.fround(1 / 127);
    }),
  };
};

const AWQ = { quant_method: 'awq', bits: 4, group_size: 32, version: 'gemm', zero_point: true };
const GPTQ = { quant_method: 'gptq', bits: 4, group_size: 32, desc_act: false, sym: false };
const INT4 = {
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 4, group_size: 32 } } },
};

const fp8OneScale = fp8('weight_scale', () => [1]);
const fp8Blocks = fp8('weight_scale_inv', (o, i) => [Math.ceil(o / 48), Math.ceil(i / 48)], 48);
const gptq4 = gptq({ bits: 4, ordered: true, offset: 1 });
const gptq4ByActivation = gptq({ bits: 4, ordered: false, offset: 1 });
const int4 = compressed({ isSymmetric: true, isReordered: false });

const SOURCES: Readonly<Record<string, [settings: object, pack: Pack]>> = {
  'fp8 with a scale per block, as of DeepSeek and Qwen3': [
    { quant_method: 'fp8', weight_block_size: [48, 48], activation_scheme: 'dynamic' },
    fp8Blocks,
  ],
  'fp8 with one scale': [{ quant_method: 'fp8', activation_scheme: 'static' }, fp8OneScale],
  'fp8 with a scale that has no dimension': [
    { quant_method: 'fp8', activation_scheme: 'static' },
    fp8('weight_scale', () => []),
  ],
  'fp8 of compressed-tensors with a scale per output': [
    { quant_method: 'compressed-tensors', format: 'float-quantized' },
    fp8('weight_scale', (o) => [o, 1]),
  ],
  AWQ: [AWQ, awq],
  GPTQ: [GPTQ, gptq4],
  'GPTQ in the order of activations': [{ ...GPTQ, desc_act: true }, gptq4ByActivation],
  'GPTQ of 8 bits in the second version': [
    { ...GPTQ, bits: 8, checkpoint_format: 'gptq_v2' },
    gptq({ bits: 8, ordered: false, offset: 0 }),
  ],
  'int4 of compressed-tensors': [INT4, int4],
  'int4 of compressed-tensors with zero points and an order': [
    INT4,
    compressed({ isSymmetric: false, isReordered: true }),
  ],
  'int8 of bitsandbytes': [{ quant_method: 'bitsandbytes', load_in_8bit: true }, int8],
};

/** The tiny model with packed linears, and the exact values of these by name. */
function packedModel(pack: Pack) {
  const tensors = new Map<string, Tensor>();
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of tinyTensors()) {
    if (!isLinearWeight(name)) {
      tensors.set(name, fromFloat32(toFloat32(tensor), tensor.shape, 'BF16'));
      continue;
    }
    const [outputs, inputs] = tensor.shape as [number, number];
    const packed = pack(outputs, inputs);
    for (const [part, one] of Object.entries(packed.parts)) {
      tensors.set(name.replace(/weight$/, part), one);
    }
    values.set(name, packed.values);
  }
  return { tensors, values };
}

async function importPacked(
  t: TestContext,
  tensors: ReadonlyMap<string, Tensor>,
  settings: object,
  quantization: 'nf4' | 'none' = 'nf4',
) {
  const source = path.join(temporaryFolder(t), 'source');
  mkdirSync(source);
  const config = { ...TINY_CONFIG, torch_dtype: 'bfloat16', quantization_config: settings };
  writeFileSync(path.join(source, 'config.json'), JSON.stringify(config));
  writeFileSync(path.join(source, 'model.safetensors'), serializeSafetensors(tensors));
  const out = path.join(temporaryFolder(t), 'out');
  await importModel(source, out, { quantization, doubleQuantization: false });
  const artifact = readArtifact(out);
  t.after(() => artifact.tensors.close());
  return artifact;
}

for (const [name, [settings, pack]] of Object.entries(SOURCES)) {
  test(`${name}: its exact values are kept, or become NF4`, async (t) => {
    const { tensors, values } = packedModel(pack);
    assert.equal(values.size, 7);
    const dense = await importPacked(t, tensors, settings, 'none');
    const packed = await importPacked(t, tensors, settings);
    for (const artifact of [dense, packed]) {
      const kept = 'model.norm.weight';
      assert.deepEqual(artifact.tensors.read(kept), tensors.get(kept));
    }
    assert.equal(dense.configJson['quantization_config'], undefined);
    const written = packed.configJson['quantization_config'] as Record<string, unknown>;
    assert.equal(written['bnb_4bit_quant_type'], 'nf4');
    assert.equal(written['bnb_4bit_compute_dtype'], 'bfloat16');
    for (const [weight, expected] of values) {
      assert.deepEqual(toFloat32(dense.tensors.read(weight)), expected, weight);
      const linear = readLinear(packed, weight.replace(/\.weight$/, ''));
      assert.ok(linear.kind === 'nf4');
      assert.deepEqual(linear.packed, plainPacked(expected), weight);
      assert.deepEqual(linear.absmax, plainAbsmax(expected), weight);
    }
  });
}

const UP = 'model.layers.0.mlp.up_proj';

/** What is wrong: the settings, how the linears are packed, the error, and a change of the tensors. */
const REFUSED: Readonly<
  Record<string, [object, Pack, RegExp, change?: (tensors: Map<string, Tensor>) => void]>
> = {
  'another method': [
    { quant_method: 'hqq' },
    awq,
    /quantization_config: quant_method "hqq" cannot be imported. Supported: .*awq.*gptq/,
  ],
  'a method by a name of objects': [
    { quant_method: 'constructor' },
    awq,
    /quant_method "constructor" cannot be imported/,
  ],
  'settings without a method': [{}, awq, /quantization_config: quant_method/],
  'AWQ in another layout': [{ ...AWQ, version: 'gemv' }, awq, /quantization_config: version/],
  'AWQ of 8 bits': [{ ...AWQ, bits: 8 }, awq, /quantization_config: bits/],
  'GPTQ of 3 bits': [{ ...GPTQ, bits: 3 }, gptq4, /quantization_config: bits/],
  'sparse weights': [
    { ...INT4, sparsity_config: { format: 'sparse-24-bitmask' } },
    int4,
    /quantization_config: sparsity_config.format/,
  ],
  'rotated weights': [
    { ...INT4, sparsity_config: {}, transform_config: { config_groups: {} } },
    int4,
    /quantization_config: transform_config: rotated weights cannot be imported/,
  ],
  nvfp4: [{ ...INT4, format: 'nvfp4-pack-quantized' }, int4, /quantization_config: format/],
  'fp4 of bitsandbytes': [
    { quant_method: 'bitsandbytes', load_in_4bit: true, bnb_4bit_quant_type: 'fp4' },
    int8,
    /quantization_config: bnb_4bit_quant_type.*only nf4 and int8/,
  ],
  'zero points that are missing': [
    AWQ,
    awq,
    /up_proj\.qzeros: is missing/,
    (tensors) => tensors.delete(`${UP}.qzeros`),
  ],
  'scales of another group size': [
    { ...AWQ, group_size: 16 },
    awq,
    /q_proj\.scales: has 2 groups, but 64 inputs are in groups of 16/,
  ],
  'an input in a group that does not exist': [
    GPTQ,
    gptq4ByActivation,
    /up_proj\.g_idx: names a group that is not one of 2/,
    (tensors) => new DataView(tensors.get(`${UP}.g_idx`)!.data.buffer).setInt32(0, 99, true),
  ],
  'scales of blocks that the settings do not name': [
    { quant_method: 'fp8' },
    fp8Blocks,
    /weight_scale_inv: has shape \[\d+,\d+\], which is neither/,
  ],
  'an fp8 weight without a scale': [
    { quant_method: 'fp8' },
    fp8OneScale,
    /up_proj\.weight: has dtype F8_E4M3 instead of/,
    (tensors) => tensors.delete(`${UP}.weight_scale`),
  ],
  'a weight that is not a number': [
    { quant_method: 'fp8' },
    fp8OneScale,
    /up_proj\.weight: contains a value that is not finite/,
    (tensors) => tensors.get(`${UP}.weight`)!.data.fill(0x7f, 5, 6),
  ],
  'a scale that is not finite': [
    AWQ,
    awq,
    /up_proj\.scales: contains a value that is not finite/,
    (tensors) => tensors.get(`${UP}.scales`)!.data.fill(0xff, 0, 2),
  ],
  'a weight of another shape': [
    INT4,
    int4,
    /up_proj\.weight/,
    (tensors) =>
      new DataView(tensors.get(`${UP}.weight_shape`)!.data.buffer).setBigInt64(8, 32n, true),
  ],
};

for (const [what, [settings, pack, message, change]] of Object.entries(REFUSED)) {
  test(`${what} is refused by name`, async (t) => {
    const { tensors } = packedModel(pack);
    change?.(tensors);
    await assert.rejects(importPacked(t, tensors, settings), message);
  });
}
