// The linears of a serving graph in per-token form: one node of our own operator for each, or several of the runtime's, which
// compute the same.

import { type GraphBuilder, LORIKEET, type Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import type { AdapterInput } from './lora-graph.ts';
import { groupProduct, quantizeGroups, rowZeroPoints } from './row-product.ts';
import type { ServingTensor } from './row-weights.ts';
import {
  fusedLinear,
  headLinear,
  type RowForm,
  type RowLinear,
  recordsTensor,
  rowMatrix,
  rowTensors,
} from './row-weights.ts';
import { fusedBias } from './serving-weights.ts';
import type { FusedLinear } from './target-modules.ts';

interface RowLinearsOptions {
  readonly config: DecoderConfig;
  readonly form: RowForm;
  /** Returns the value of a weight. */
  readonly weight: (tensor: ServingTensor) => Value;
  /** Any value [T], for the number of token rows. */
  readonly tokens: Value;
}

/** The operator's inputs between x and the bias: the weights, and the treatment of inputs that 8-bit weights need. */
const WEIGHT_INPUTS = 5;

/** The activations that our operator applies to its input (`native/kernels.h`). */
const OPERATOR_ACTIVATIONS = { silu: 1, gelu_pytorch_tanh: 2 } as const;

/** Builds the per-token linears of one graph. */
export class RowLinears {
  readonly #g: GraphBuilder;
  readonly #options: RowLinearsOptions;
  /** By groups per token: uint8 [T * groups] */
  readonly #zeroPoints = new Map<number, Value>();
  /** [T, 1] each, not finite if an input of the row's product is not. */
  readonly #rowSums: Value[] = [];

  constructor(g: GraphBuilder, options: RowLinearsOptions) {
    this.#g = g;
    this.#options = options;
  }

  /**
   * Multiplies x [T, in] by a fused linear and adds its bias: [T, out]. Our operator also applies the adapters of the rows, and
   * the activation before the last linear, whose x is then [T, 2 in].
   */
  product(x: Value, layer: number, fused: FusedLinear, adapters: readonly AdapterInput[]): Value {
    const { config, form, weight } = this.#options;
    const linear = fusedLinear(config, layer, fused);
    const biasTensor = fusedBias(config, layer, fused);
    const bias = biasTensor && weight(biasTensor);
    if (form.packing === 'packed') {
      const activation = fused === 'mlp_out' ? OPERATOR_ACTIVATIONS[config.activation] : 0;
      return this.#packedProduct(x, linear, { more: [bias, ...adapters], activation });
    }
    // A NaN has no code, and the maximum may skip it. Only these inputs can be partly NaN: a norm makes its whole row NaN, and
    // so does the residual stream.
    if (fused === 'attention_out' || fused === 'mlp_out')
      this.#rowSums.push(this.#g.node('ReduceSum', [x, this.#g.int64([1])], { keepdims: 1 }));
    const product = this.#plainProduct(x, linear, {});
    return bias ? this.#g.node('Add', [product, bias]) : product;
  }

  /** Multiplies rows [L, D] by the output head: [L, V]. `name` is the result's name. */
  head(x: Value, name: string | undefined): Value {
    const { config, form } = this.#options;
    const linear = headLinear(config);
    if (form.packing === 'packed') return this.#packedProduct(x, linear, { name });
    return this.#plainProduct(x, linear, { name });
  }

  /** Makes rows of hidden [T, D] NaN if the runtime's rounding has hidden their non-finite numbers. Our operator hides none. */
  spreadNonFinite(hidden: Value): Value {
    if (this.#rowSums.length === 0) return hidden;
    const sum = this.#g.node('Sum', this.#rowSums);
    return this.#g.node('Add', [hidden, this.#g.node('Mul', [sum, this.#g.float(0)])]);
  }

  #packedProduct(
    x: Value,
    linear: RowLinear,
    {
      more = [],
      activation = 0,
      name,
    }: {
      readonly more?: readonly AdapterInput[];
      readonly activation?: number;
      readonly name?: string | undefined;
    },
  ): Value {
    const { form, weight } = this.#options;
    const is4Bit = recordsTensor(linear, form) !== undefined;
    const groups = is4Bit ? 1 : rowMatrix(linear, form).groups;
    const weights = rowTensors(linear, form).map(weight);
    const absent = more.length > 0 ? new Array(WEIGHT_INPUTS - weights.length).fill(undefined) : [];
    const inputs = [x, ...weights, ...absent, ...more];
    const attributes = { groups, activation, bits: is4Bit ? 4 : 8 };
    const options = { domain: LORIKEET, outputs: [name ?? true] };
    return this.#g.nodeWithOutputs('RowLinear', inputs, attributes, options)[0]!;
  }

  #plainProduct(x: Value, linear: RowLinear, { name }: { readonly name?: string | undefined }) {
    const g = this.#g;
    const { form, weight } = this.#options;
    const matrix = rowMatrix(linear, form);
    const { values, groups, scales, factors, floatInputs, floatValues } = matrix;
    const zeroPoints = linear.kind === 'head' ? undefined : this.#zeroPointsOf(groups);
    const smooth = g.node('Mul', [x, weight(factors)]);
    const shape = { groups, width: values[0]!.dims[0]! };
    const rows = quantizeGroups(g, smooth, shape, zeroPoints);
    const ofOutputs = weight(scales);
    const weights = values.map((v) => ({ data: weight(v), scales: ofOutputs }));
    const product = groupProduct(g, rows, weights);
    const taken = g.node('Gather', [x, weight(floatInputs)], { axis: 1 });
    const terms = [taken, weight(floatValues), product];
    return g.nodeWithOutputs('Gemm', terms, {}, { outputs: [name ?? true] })[0]!;
  }

  /** Returns the zero points of rows in groups, which all linears with as many groups share. */
  #zeroPointsOf(groups: number): Value {
    const zeroPoints =
      this.#zeroPoints.get(groups) ?? rowZeroPoints(this.#g, this.#options.tokens, groups);
    this.#zeroPoints.set(groups, zeroPoints);
    return zeroPoints;
  }
}
