// The weight tensors of the per-token form: names, types and shapes. A serving graph of prompts, or
// every one, multiplies its fused linears with them. In the weights file they follow the per-block form.
import { append } from '../common/long-arrays.ts';
import { PACKED_BLOCK } from '../quant/row-int8.ts';
import type { DecoderConfig } from './config.ts';
import type { ServingTensor } from './serving-weights.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  fusedTargets,
  TARGET_MODULES,
} from './target-modules.ts';

/**
 * The treatment of a linear's inputs. `floats` inputs stay floats: those whose activations stand out most. All others are
 * rounded to 8 bits, with one scale per token row or, for activations with long tails, in `groups` of inputs.
 */
const ROW_INPUTS: Readonly<
  Record<FusedLinear, { readonly floats: number; readonly groups: number }>
> = {
  attention_in: { floats: 8, groups: 1 },
  attention_out: { floats: 8, groups: 1 },
  mlp_in: { floats: 8, groups: 1 },
  mlp_out: { floats: 48, groups: 4 },
};

/** The runtime's product takes four inputs at a time. */
const GROUP_MULTIPLE = 4;

/**
 * The order of the weights. `plain`: for the runtime's product, one matrix for each group of inputs. `packed`: for our own
 * operator, which takes all groups at once.
 */
export type RowPacking = 'plain' | 'packed';

/** A fused linear [out, in] in per-token form. */
export interface RowMatrix {
  /**
   * The smoothed weights, uint8. Rows of float inputs are zero, which is code 128. Plain: [in / groups, out] for each group.
   * Packed: one tensor, see `packRowInt8`.
   */
  readonly values: readonly ServingTensor[];
  /** Groups of adjacent inputs that are rounded with separate scales. */
  readonly groups: number;
  /** float32 [out] */
  readonly scales: ServingTensor;
  /** float32 [in]: factors for the activations that undo the smoothing. The factors of float inputs are zero. */
  readonly factors: ServingTensor;
  readonly floatInputs: FloatInputs | undefined;
}

/** The inputs of a linear that stay floats. */
interface FloatInputs {
  /** int64 [count] */
  readonly indices: ServingTensor;
  /** float32 [count, out] */
  readonly values: ServingTensor;
}

/** Names a fused linear of a layer, such as `layers.3.mlp_out`. */
export function linearName(layer: number, fused: FusedLinear): string {
  return `layers.${layer}.${fused}`;
}

/** Whether our own operator can compute all linears of a base: their groups of inputs must be multiples of 4. */
export function canPack(config: DecoderConfig): boolean {
  return FUSED_LINEAR_NAMES.every((fused) => {
    const [target] = fusedTargets(config, fused);
    return TARGET_MODULES[target!].inFeatures(config) % PACKED_BLOCK.inputs === 0;
  });
}

/** Returns the per-token tensors of a fused linear. */
export function rowMatrix(
  config: DecoderConfig,
  { layer, fused }: { readonly layer: number; readonly fused: FusedLinear },
  packing: RowPacking,
): RowMatrix {
  const targets = fusedTargets(config, fused);
  const inputs = TARGET_MODULES[targets[0]!].inFeatures(config);
  const outputs = targets.reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(config), 0);
  const name = `${linearName(layer, fused)}.rows`;
  const { floats, groups: wanted } = ROW_INPUTS[fused];
  const groups = inputs % (wanted * GROUP_MULTIPLE) === 0 ? wanted : 1;
  const count = Math.min(floats, inputs);
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
    floatInputs: count
      ? {
          indices: { name: `${name}.float_inputs`, type: 'int64', dims: [count] },
          values: { name: `${name}.float_values`, type: 'float32', dims: [count, outputs] },
        }
      : undefined,
  };
}

function packedDims(inputs: number, outputs: number): number[] {
  const block = PACKED_BLOCK;
  return [Math.ceil(outputs / block.outputs), inputs / block.inputs, block.outputs, block.inputs];
}

/** Lists all tensors of the per-token form, in file order. */
export function rowTensors(config: DecoderConfig, packing: RowPacking): ServingTensor[] {
  const tensors: ServingTensor[] = [];
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      const { values, scales, factors, floatInputs } = rowMatrix(config, { layer, fused }, packing);
      append(tensors, [...values, scales, factors]);
      if (floatInputs) tensors.push(floatInputs.indices, floatInputs.values);
    }
  }
  return tensors;
}
