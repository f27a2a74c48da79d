// Presents a checkpoint quantized by another method as a checkpoint of float weights. Each linear is expanded when it is read,
// so only one is in memory at a time.
import { z } from 'zod';
import { FileError } from '../../common/errors.ts';
import { parseFileValue } from '../../common/schema-errors.ts';
import {
  createTensorSource,
  fromFloat32,
  type TensorInfo,
  type TensorSource,
} from '../../common/tensor.ts';
import type { Checkpoint } from '../checkpoint.ts';
import {
  expectInfo,
  expectMatrix,
  type PackedForm,
  readScales,
  SCALE_DTYPES,
} from './packed-form.ts';
import { awqForm, COMPRESSED_FORM, gptqForm } from './packed-integers.ts';

const FIELD = 'quantization_config';

const positive = z.number().int().positive();
const block = z.tuple([positive, positive]);
const groupSize = z.union([positive, z.literal(-1)]).optional();

const fp8Schema = z.looseObject({ weight_block_size: block.nullish() });
const awqSchema = z.looseObject({
  bits: z.literal(4),
  group_size: groupSize,
  version: z.enum(['gemm', 'exllama']).default('gemm'),
  zero_point: z.literal(true).default(true),
});
const gptqSchema = z.looseObject({
  bits: z.union([z.literal(2), z.literal(4), z.literal(8)]),
  group_size: groupSize,
  checkpoint_format: z.enum(['gptq', 'gptq_v2']).default('gptq'),
});
const compressedSchema = z.looseObject({
  format: z.enum(['float-quantized', 'int-quantized', 'naive-quantized', 'pack-quantized']),
  sparsity_config: z.looseObject({ format: z.literal('dense').optional() }).nullish(),
  transform_config: z
    .looseObject({})
    .refine(
      (transforms) => Object.keys(transforms).length === 0,
      'rotated weights cannot be imported',
    )
    .nullish(),
  config_groups: z
    .record(
      z.string(),
      z.looseObject({
        weights: z
          .looseObject({
            group_size: positive.nullish(),
            block_structure: block.nullish(),
          })
          .nullish(),
      }),
    )
    .default({}),
});
const bitsandbytesSchema = z
  .looseObject({
    load_in_8bit: z.boolean().nullish(),
    bnb_4bit_quant_type: z.string().nullish(),
  })
  .refine((given) => given.load_in_8bit || given.bnb_4bit_quant_type === 'nf4', {
    path: ['bnb_4bit_quant_type'],
    message: 'only nf4 and int8 can be imported',
  });

/** quant_method → the formats that its settings describe. */
const METHODS: Readonly<Record<string, (settings: unknown) => readonly PackedForm[]>> = {
  fp8(settings) {
    const { weight_block_size: size } = parseFileValue(fp8Schema, settings, FIELD);
    return scaledForms(size ?? undefined);
  },
  fbgemm_fp8: () => scaledForms(undefined),
  awq(settings) {
    const { group_size: size } = parseFileValue(awqSchema, settings, FIELD);
    return [awqForm(sizeOf(size))];
  },
  gptq(settings) {
    const {
      bits,
      group_size: size,
      checkpoint_format: version,
    } = parseFileValue(gptqSchema, settings, FIELD);
    const zeroOffset = version === 'gptq' ? 1 : 0;
    return [gptqForm({ bits, groupSize: sizeOf(size), zeroOffset })];
  },
  'compressed-tensors'(settings) {
    const parsed = parseFileValue(compressedSchema, settings, FIELD);
    return [COMPRESSED_FORM, ...scaledForms(commonBlock(parsed))];
  },
  bitsandbytes(settings) {
    const { load_in_8bit: isInt8 } = parseFileValue(bitsandbytesSchema, settings, FIELD);
    return isInt8 ? [BITSANDBYTES_INT8] : []; // NF4 stays packed
  },
};

/** Scales of activations and caches, which do not change the weights. */
const ACTIVATION_SCALES = /\.(input_scale|output_scale|input_zero_point|(q|k|v|kv|prob)_scale)$/;

/**
 * Returns the checkpoint with packed linears as float32, and a configuration that no longer announces quantization. A
 * checkpoint without packed linears, or with NF4, is returned unchanged. Throws `FileError` naming the setting or tensor at
 * fault.
 */
export function unpackCheckpoint(checkpoint: Checkpoint): Checkpoint {
  const { [FIELD]: settings, ...configJson } = checkpoint.configJson;
  if (settings == null) return checkpoint;
  const { quant_method: method } = parseFileValue(
    z.looseObject({ quant_method: z.string() }),
    settings,
    FIELD,
  );
  const findForms = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  if (!findForms) {
    throw new FileError(
      FIELD,
      `quant_method ${JSON.stringify(method)} cannot be imported. Supported: ${Object.keys(METHODS).join(', ')}.`,
    );
  }
  const forms = findForms(settings);
  if (forms.length === 0) return checkpoint;
  const tensors = unpackedSource(checkpoint.tensors, forms);
  if (!tensors) throw new FileError(FIELD, `announces ${method}, but no layer is packed that way`);
  return {
    ...checkpoint,
    configJson,
    configText: `${JSON.stringify(configJson, null, 2)}\n`,
    tensors,
  };
}

/** Returns undefined if no layer uses any of the formats. */
function unpackedSource(
  source: TensorSource,
  forms: readonly PackedForm[],
): TensorSource | undefined {
  const infos = new Map<string, TensorInfo>(source.infos);
  const packedLinears = new Map<string, { module: string; form: PackedForm }>();
  for (const form of forms) {
    for (const name of source.infos.keys()) {
      if (!name.endsWith(form.marker)) continue;
      const module = name.slice(0, -form.marker.length);
      if (packedLinears.has(`${module}.weight`)) continue; // the first format that fits
      const shape = form.shape(source, module);
      for (const part of form.parts) infos.delete(module + part);
      infos.set(`${module}.weight`, { dtype: 'F32', shape });
      packedLinears.set(`${module}.weight`, { module, form });
    }
  }
  if (packedLinears.size === 0) return undefined;
  for (const name of source.infos.keys()) if (ACTIVATION_SCALES.test(name)) infos.delete(name);
  const read = (name: string, { shape }: TensorInfo) => {
    const linear = packedLinears.get(name);
    if (!linear) return source.read(name);
    return fromFloat32(linear.form.read(source, linear.module), shape, 'F32');
  };
  return createTensorSource(infos, read, { close: () => source.close() });
}

function scaledForms(size: ScaleBlock | undefined): PackedForm[] {
  return [scaledForm('.weight_scale_inv', size), scaledForm('.weight_scale', size)];
}

/**
 * Returns the blocks of compressed-tensors' first group of layers that defines any. A group of inputs is a block of one output.
 */
function commonBlock({ config_groups: groups }: z.infer<typeof compressedSchema>) {
  for (const { weights } of Object.values(groups)) {
    if (weights?.block_structure) return weights.block_structure;
    if (weights?.group_size) return [1, weights.group_size] as const;
  }
  return undefined;
}

/** A group size of -1 means one group. */
function sizeOf(groupSize: number | undefined): number | undefined {
  return groupSize === -1 ? undefined : groupSize;
}

// 8-bit weights with scales: fp8 per tensor, per output or per block, and int8 per output.

/** The rows and columns of a block that shares a scale. */
type ScaleBlock = readonly [rows: number, cols: number];

const DTYPES = ['F8_E4M3', 'F8_E5M2', 'I8'] as const;

/** The value of each byte, by type. */
const VALUES: Readonly<Record<(typeof DTYPES)[number], Float32Array>> = {
  F8_E4M3: Float32Array.from({ length: 256 }, (_, byte) => {
    return (byte & 0x7f) === 0x7f ? Number.NaN : smallFloat(byte, 3, 7); // it has no infinity
  }),
  F8_E5M2: Float32Array.from({ length: 256 }, (_, byte) => {
    if ((byte & 0x7c) === 0x7c) return Number.NaN; // no weight may be infinite or NaN
    return smallFloat(byte, 2, 15);
  }),
  I8: Float32Array.from({ length: 256 }, (_, byte) => (byte << 24) >> 24),
};

/** Returns the value of a finite 8-bit float. */
function smallFloat(byte: number, mantissaBits: number, bias: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte & 0x7f) >> mantissaBits;
  const fraction = (byte & ((1 << mantissaBits) - 1)) / (1 << mantissaBits);
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

/**
 * Returns the format of an 8-bit weight and its scales. A single scale applies to the whole tensor, one per output to its row.
 * Otherwise scales apply to blocks, whose size is in the checkpoint's settings.
 */
function scaledForm(
  scales: '.weight_scale' | '.weight_scale_inv',
  block: ScaleBlock | undefined,
): PackedForm {
  return {
    marker: scales,
    parts: ['.weight', scales],
    shape: (source, module) => expectMatrix(source, `${module}.weight`, DTYPES),
    read(source, module) {
      refuseZeroPoint(source, module);
      return readScaled(source, module, { scales, block });
    },
  };
}

/** bitsandbytes' int8 weights: one scale per output, which is its largest magnitude. */
const BITSANDBYTES_INT8: PackedForm = {
  marker: '.SCB',
  parts: ['.weight', '.SCB', '.weight_format'],
  shape: (source, module) => expectMatrix(source, `${module}.weight`, ['I8']),
  read(source, module) {
    const format = `${module}.weight_format`;
    if (source.infos.has(format) && source.read(format).data.some((byte) => byte !== 0)) {
      throw new FileError(format, 'is not the row layout');
    }
    const values = readScaled(source, module, { scales: '.SCB', block: undefined });
    const unit = Math.fround(1 / 127);
    for (let i = 0; i < values.length; i++) values[i] = values[i]! * unit;
    return values;
  },
};

function readScaled(
  source: TensorSource,
  module: string,
  { scales: suffix, block }: { scales: string; block: ScaleBlock | undefined },
): Float32Array {
  const weight = `${module}.weight`;
  const [rows, cols] = expectMatrix(source, weight, DTYPES);
  const { dtype } = expectInfo(source, weight, DTYPES);
  const [blockRows, blockCols] = findBlock(source, `${module}${suffix}`, { rows, cols, block });
  const scales = readScales(source, `${module}${suffix}`);
  const table = VALUES[dtype as (typeof DTYPES)[number]];
  const { data } = source.read(weight);
  const values = new Float32Array(rows * cols);
  const scalesPerRow = Math.ceil(cols / blockCols);
  for (let row = 0; row < rows; row++) {
    const firstScale = Math.floor(row / blockRows) * scalesPerRow;
    for (let at = 0; at < scalesPerRow; at++) {
      const scale = scales[firstScale + at]!;
      const end = row * cols + Math.min(cols, (at + 1) * blockCols);
      for (let i = row * cols + at * blockCols; i < end; i++) values[i] = table[data[i]!]! * scale;
    }
  }
  return values;
}

function findBlock(
  source: TensorSource,
  name: string,
  { rows, cols, block }: { rows: number; cols: number; block: ScaleBlock | undefined },
): ScaleBlock {
  const { shape } = expectInfo(source, name, SCALE_DTYPES);
  const [first = 1, second = 1, ...rest] = shape;
  const isOf = ([blockRows, blockCols]: ScaleBlock) =>
    first === Math.ceil(rows / blockRows) && second === Math.ceil(cols / blockCols);
  const size = [...(block ? [block] : []), [rows, cols] as const, [1, cols] as const].find(isOf);
  if (size && rest.length === 0) return size;
  const blocks = block ? `, nor blocks of [${block}]` : '';
  throw new FileError(
    name,
    `has shape [${shape}], which is neither one scale nor one per output of [${rows}, ${cols}]${blocks}`,
  );
}

function refuseZeroPoint(source: TensorSource, module: string): void {
  const name = `${module}.weight_zero_point`;
  if (source.infos.has(name)) {
    throw new FileError(name, '8-bit weights with zero points cannot be imported');
  }
}
