// The 4-bit checkpoint layout of bitsandbytes and transformers: the tensors that represent one quantized linear layer, and the
// settings in config.json that announce them.
import { z } from 'zod';
import { FileError } from '../common/errors.ts';
import { parseJsonFile } from '../common/schema-errors.ts';
import {
  elementCount,
  type FloatDType,
  fromFloat32,
  type Tensor,
  type TensorInfo,
  type TensorSource,
  toFloat32,
} from '../common/tensor.ts';
import {
  DYNAMIC_MAP,
  NESTED_BLOCK,
  type NestedAbsmax,
  restoreAbsmax,
} from '../quant/double-quant.ts';
import { NF4_BLOCK, NF4_CODEBOOK } from '../quant/nf4.ts';

/** dtype in safetensors → torch's name, which bitsandbytes writes. */
const TORCH_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;

/** The tensors of a quantized linear layer other than its packed codes. Together they are 1/64 of the weights' size. */
type Companions = Map<string, Tensor>;

const stateSuffix = '.quant_state.bitsandbytes__nf4';
const positive = z.number().int().positive();

const stateSchema = z.object({
  quant_type: z.literal('nf4'),
  blocksize: z.literal(NF4_BLOCK),
  dtype: z.enum(Object.values(TORCH_NAMES)),
  shape: z.tuple([positive, positive]),
  nested_blocksize: z.literal(NESTED_BLOCK).optional(),
  nested_dtype: z.literal('float32').optional(),
  nested_offset: z.number().optional(),
});

/** Creates the tensors that accompany packed codes. With double quantization, `scales` are 8-bit absmax values. */
export function nf4Companions(
  weight: string,
  { dtype, shape }: TensorInfo,
  scales: Float32Array | NestedAbsmax,
): Companions {
  const companions: Companions = new Map();
  const add = (suffix: string, tensor: Tensor) => companions.set(weight + suffix, tensor);
  const torchName = TORCH_NAMES[dtype as FloatDType];
  let state = `"quant_type": "nf4", "blocksize": ${NF4_BLOCK}, "dtype": "${torchName}", "shape": [${shape.join(', ')}]`;
  if (scales instanceof Float32Array) {
    add('.absmax', floats(scales));
  } else {
    add('.absmax', { dtype: 'U8', shape: [scales.codes.length], data: scales.codes });
    add('.nested_absmax', floats(scales.nestedAbsmax));
    add('.nested_quant_map', floats(DYNAMIC_MAP));
    state += `, "nested_blocksize": ${NESTED_BLOCK}, "nested_dtype": "float32", "nested_offset": ${scales.offset}`;
  }
  add('.quant_map', floats(NF4_CODEBOOK));
  const stateBytes = new TextEncoder().encode(`{${state}}`);
  add(stateSuffix, { dtype: 'U8', shape: [stateBytes.length], data: stateBytes });
  return companions;
}

/** Returns the dtype and shape of the packed codes: two codes per byte, in one column. */
export function packedInfo(shape: readonly number[]): TensorInfo {
  return { dtype: 'U8', shape: [Math.ceil(elementCount(shape) / 2), 1] };
}

/** Whether `weight` is stored as NF4 codes. */
export function isNf4(source: TensorSource, weight: string): boolean {
  return source.infos.has(weight + stateSuffix);
}

/** Returns the names of a quantized weight's companion tensors in this source. */
export function companionNames(source: TensorSource, weight: string): string[] {
  return [...source.infos.keys()].filter((name) => name.startsWith(`${weight}.`));
}

/** Returns [rows, cols] of a quantized weight. */
export function nf4Shape(source: TensorSource, weight: string): readonly number[] {
  return readState(source, weight).shape;
}

/** Whether the absmax values of a quantized weight are themselves quantized. */
export function isDoubleQuantized(source: TensorSource, weight: string): boolean {
  return readState(source, weight).nested_offset !== undefined;
}

/** The weights of a quantized linear layer. */
export interface Nf4Linear {
  /** Codes of the flattened [rows, cols] matrix, two per byte. */
  readonly packed: Uint8Array;
  /** [ceil(rows * cols / 64)], fp32. Already restored if they were double-quantized. */
  readonly absmax: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/** Reads a quantized linear layer. Throws `FileError` if its tensors do not fit together. */
export function readNf4(source: TensorSource, weight: string): Nf4Linear {
  const state = readState(source, weight);
  const [rows, cols] = state.shape;
  const packed = source.read(weight).data;
  if (packed.length !== Math.ceil((rows * cols) / 2)) {
    throw new FileError(
      weight,
      `has ${packed.length} bytes of codes, which does not match the shape [${rows}, ${cols}]`,
    );
  }
  const map = toFloat32(expectFloat(source, `${weight}.quant_map`));
  if (map.length !== 16 || map.some((value, code) => value !== NF4_CODEBOOK[code])) {
    throw new FileError(`${weight}.quant_map`, 'is not the NF4 codebook');
  }
  const absmax = readAbsmax(source, weight, state);
  if (absmax.length !== Math.ceil((rows * cols) / NF4_BLOCK)) {
    throw new FileError(
      `${weight}.absmax`,
      `has ${absmax.length} blocks, which does not match the shape [${rows}, ${cols}]`,
    );
  }
  return { packed, absmax, rows, cols };
}

function readState(source: TensorSource, weight: string): z.infer<typeof stateSchema> {
  const name = weight + stateSuffix;
  return parseJsonFile(stateSchema, source.read(name).data, name);
}

function readAbsmax(
  source: TensorSource,
  weight: string,
  state: z.infer<typeof stateSchema>,
): Float32Array {
  if (state.nested_offset === undefined) return toFloat32(expectFloat(source, `${weight}.absmax`));
  const codes = source.read(`${weight}.absmax`);
  const nestedAbsmax = toFloat32(expectFloat(source, `${weight}.nested_absmax`));
  const map = toFloat32(expectFloat(source, `${weight}.nested_quant_map`));
  const scaleCount = Math.ceil(codes.data.length / NESTED_BLOCK);
  if (codes.dtype !== 'U8' || nestedAbsmax.length !== scaleCount || map.length !== 256) {
    throw new FileError(
      `${weight}.absmax`,
      'its double-quantized scales do not match each other in size or type',
    );
  }
  const nested = { codes: codes.data, nestedAbsmax, offset: Math.fround(state.nested_offset) };
  return restoreAbsmax(nested, map);
}

function expectFloat(source: TensorSource, name: string): Tensor {
  const tensor = source.read(name);
  if (tensor.dtype !== 'F32') throw new FileError(name, `has dtype ${tensor.dtype} instead of F32`);
  return tensor;
}

function floats(values: Float32Array): Tensor {
  return fromFloat32(values, [values.length], 'F32');
}

/**
 * Returns the `quantization_config` that transformers 5 writes to config.json for such a checkpoint. It is text because
 * transformers requires a threshold of 6.0, which JSON.stringify would write as 6.
 */
export function quantizationConfig(dtype: FloatDType, doubleQuantization: boolean): string {
  return `{
    "_load_in_4bit": true,
    "_load_in_8bit": false,
    "bnb_4bit_compute_dtype": "${TORCH_NAMES[dtype]}",
    "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": ${doubleQuantization},
    "llm_int8_enable_fp32_cpu_offload": false,
    "llm_int8_has_fp16_weight": false,
    "llm_int8_skip_modules": null,
    "llm_int8_threshold": 6.0,
    "load_in_4bit": true,
    "load_in_8bit": false,
    "quant_method": "bitsandbytes"
  }`;
}
