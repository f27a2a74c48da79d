// The weight tensors of the per-token form of int8 and int4 weights: names, types and shapes. Serving graphs on the CPU multiply
// their fused linears and the output head with them.

import type { ElementType } from '../onnx/graph-builder.ts';
import { PACKED_BLOCK, type RowPacking } from '../quant/row-int8.ts';
import type { DecoderConfig } from './config.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  fusedTargets,
  fusedWidth,
  partWidths,
  TARGET_MODULES,
} from './target-modules.ts';

/** A tensor of the weights file. */
export interface ServingTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
}

/** A fused linear or the output head, [outputs, inputs]. */
export interface RowLinear {
  /** Such as `layers.3.mlp_out` or `head`. */
  readonly name: string;
  readonly kind: FusedLinear | 'head';
  readonly inputs: number;
  readonly outputs: number;
  /** Whether it keeps 8 bits in a base of 4. */
  readonly keeps8Bits: boolean;
}

/**
 * The usual treatment of a linear's inputs. `floats` inputs stay floats: those whose activations stand out most. All others are
 * rounded to 8 bits, with one scale per token row or, for activations with long tails, in `groups` of inputs.
 */
const ROW_INPUTS: Readonly<
  Record<RowLinear['kind'], { readonly floats: number; readonly groups: number }>
> = {
  attention_in: { floats: 8, groups: 1 },
  attention_out: { floats: 8, groups: 1 },
  mlp_in: { floats: 8, groups: 1 },
  mlp_out: { floats: 48, groups: 4 },
  head: { floats: 8, groups: 1 },
};
/** Bases with fewer channels lose more by 4 bits, and save less memory. */
const WIDE = 1024;

/**
 * 4-bit weights as our own operator reads them (`native/kernels.h`): records of sixteen outputs and a span of inputs, with a scale
 * and a lowest value as halves for each output. weight = code * scale + lowest.
 */
export const RECORD = { outputs: PACKED_BLOCK.outputs, inputs: 32, bytes: 320 } as const;

/** The widest attention head of our own operator (`native/kernels.h`). */
const MAX_HEAD_DIM = 512;
/** The runtime's product takes four inputs at a time. */
const GROUP_MULTIPLE = 4;

export type { RowPacking };

/** The per-token form of a base. */
export interface RowForm {
  readonly packing: RowPacking;
  /** 4: linears are records of 4-bit weights unless they keep 8 bits, and nothing is smoothed. `packed` only. Default: 8. */
  readonly bits?: 4;
  /** By name, the numbers of float inputs of linears that need more than usual. */
  readonly floats?: Readonly<Record<string, number>>;
}

/** A linear [out, in] in per-token form. */
export interface RowMatrix {
  /**
   * The smoothed weights, uint8. Rows of float inputs are zero, which is code 128. Plain: [in / groups, out] for each group.
   * Packed: one tensor, see `RowInt8`.
   */
  readonly values: readonly ServingTensor[];
  /** Groups of adjacent inputs that are rounded with separate scales. */
  readonly groups: number;
  /** float32 [out] */
  readonly scales: ServingTensor;
  /** float32 [in]: factors for the activations that undo the smoothing. The factors of float inputs are zero. */
  readonly factors: ServingTensor;
  /** int64 [count]: the inputs that stay floats. The tensors are absent if there are none. */
  readonly floatInputs: ServingTensor;
  /** float32 [count, out] */
  readonly floatValues: ServingTensor;
}

/** Returns a fused linear of a layer. */
export function fusedLinear(config: DecoderConfig, layer: number, fused: FusedLinear): RowLinear {
  const inputs = TARGET_MODULES[fusedTargets(config, fused)[0]!].inFeatures(config);
  const outputs = fusedWidth(config, fused);
  const keeps8Bits = losesBy4Bits(config, layer, fused);
  return { name: `layers.${layer}.${fused}`, kind: fused, inputs, outputs, keeps8Bits };
}

/**
 * Whether 4 bits cost more quality than their memory is worth (decision 43): in the attention, which is a small part of a base, and in
 * the MLP's first linear in the second half of a narrow base.
 */
function losesBy4Bits(
  { hiddenSize, layerCount }: DecoderConfig,
  layer: number,
  fused: FusedLinear,
): boolean {
  if (fused === 'mlp_out') return false;
  return fused !== 'mlp_in' || (hiddenSize < WIDE && layer >= layerCount / 2);
}

/** Returns the output head as a linear. */
export function headLinear({ hiddenSize, vocabSize }: DecoderConfig): RowLinear {
  return { name: 'head', kind: 'head', inputs: hiddenSize, outputs: vocabSize, keeps8Bits: true };
}

/** Lists the fused linears layer by layer, and then the head. */
export function rowLinears(config: DecoderConfig): RowLinear[] {
  const layers = Array.from({ length: config.layerCount }, (_, layer) =>
    FUSED_LINEAR_NAMES.map((fused) => fusedLinear(config, layer, fused)),
  );
  return [...layers.flat(), headLinear(config)];
}

/** Whether our own operators can compute a base: they take sixteen channels at a time, and 32 inputs of 4-bit weights. */
export function canPack(config: DecoderConfig, bits?: RowForm['bits']): boolean {
  const isWhole = (size: number) => size % PACKED_BLOCK.outputs === 0;
  const hasSpans = ({ kind, inputs }: RowLinear) => kind === 'head' || inputs % RECORD.inputs === 0;
  if (bits === 4 && !rowLinears(config).every(hasSpans)) return false;
  const { headDim } = config;
  const widths = FUSED_LINEAR_NAMES.flatMap((fused) => partWidths(config, fused));
  const inputs = rowLinears(config).map((linear) => linear.inputs);
  return [...widths, ...inputs, headDim].every(isWhole) && headDim <= MAX_HEAD_DIM;
}

/** Returns the records of a linear's 4-bit weights, uint8. Undefined if its weights have 8 bits. */
export function recordsTensor(
  { name, inputs, outputs, keeps8Bits }: RowLinear,
  { bits }: RowForm,
): ServingTensor | undefined {
  if (bits !== 4 || keeps8Bits) return undefined;
  const dims = [outputs / RECORD.outputs, inputs / RECORD.inputs, RECORD.bytes];
  return { name: `${name}.records`, type: 'uint8', dims };
}

/** Returns the per-token tensors of a linear with 8-bit weights. */
export function rowMatrix(
  { name: linear, kind, inputs, outputs }: RowLinear,
  { packing, bits, floats = {} }: RowForm,
): RowMatrix {
  const name = `${linear}.rows`;
  // Next to 4-bit weights nothing says which inputs stand out. Short groups keep an outlier from the others, and cost time for each
  // output, of which the head has most.
  const uncalibrated = { floats: 0, groups: kind === 'head' ? 4 : inputs / RECORD.inputs };
  const usual = bits === 4 ? uncalibrated : ROW_INPUTS[kind];
  const groups = inputs % (usual.groups * GROUP_MULTIPLE) === 0 ? usual.groups : 1;
  const count = floats[linear] ?? Math.min(usual.floats, inputs);
  return {
    values:
      packing === 'packed'
        ? [{ name: `${name}.packed`, type: 'uint8', dims: packedDims(inputs, outputs) }]
        : Array.from({ length: groups }, (_, i) => ({
            name: `${name}.${i}`,
            type: 'uint8',
            dims: [inputs / groups, outputs],
          })),
    groups,
    scales: { name: `${name}.scales`, type: 'float32', dims: [outputs] },
    factors: { name: `${name}.factors`, type: 'float32', dims: [inputs] },
    floatInputs: { name: `${name}.float_inputs`, type: 'int64', dims: [count] },
    floatValues: { name: `${name}.float_values`, type: 'float32', dims: [count, outputs] },
  };
}

function packedDims(inputs: number, outputs: number): number[] {
  const block = PACKED_BLOCK;
  return [Math.ceil(outputs / block.outputs), inputs / block.inputs, block.outputs, block.inputs];
}

/** Lists the tensors of a linear in file order. */
export function rowTensors(linear: RowLinear, form: RowForm): ServingTensor[] {
  const records = recordsTensor(linear, form);
  if (records) return [records];
  const { values, scales, factors, floatInputs, floatValues } = rowMatrix(linear, form);
  const hasFloats = floatInputs.dims[0]! > 0;
  return [...values, scales, factors, ...(hasFloats ? [floatInputs, floatValues] : [])];
}
