// The fused linears of a serving graph in per-token form: one node of our own operator for each, or several of the runtime's,
// which compute the same.
import { type GraphBuilder, LORIKEET, type Value } from '../onnx/graph-builder.ts';
import type { DecoderConfig } from './config.ts';
import type { AdapterInput } from './lora-graph.ts';
import { groupProduct, quantizeGroups, rowZeroPoints } from './row-product.ts';
import { type RowMatrix, type RowPacking, rowMatrix } from './row-weights.ts';
import { fusedBias, type ServingTensor } from './serving-weights.ts';
import type { FusedLinear } from './target-modules.ts';

interface RowLinearsOptions {
  readonly config: DecoderConfig;
  /** `packed` is for our own operator. */
  readonly packing: RowPacking;
  /** Returns the value of a weight. */
  readonly weight: (tensor: ServingTensor) => Value;
  /** Whether the last linear activates its input, which our operator does. */
  readonly activates: boolean;
  /** Any value [T], for the number of token rows. */
  readonly tokens: Value;
}

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
    const { config, packing, weight, activates } = this.#options;
    const matrix = rowMatrix(config, { layer, fused }, packing);
    const biasTensor = fusedBias(config, layer, fused);
    const bias = biasTensor && weight(biasTensor);
    if (packing === 'packed') {
      const { values, scales, factors, floatInputs, groups } = matrix;
      const weights = [...values, scales, factors, floatInputs?.indices, floatInputs?.values];
      const inputs = [x, ...weights.map((tensor) => tensor && weight(tensor)), bias, ...adapters];
      const activation =
        activates && fused === 'mlp_out' ? OPERATOR_ACTIVATIONS[config.activation] : 0;
      return this.#g.node('RowLinear', inputs, { groups, activation }, LORIKEET);
    }
    // A NaN has no code, and the maximum may skip it. Only these inputs can be partly NaN: a norm makes its whole row NaN, and
    // so does the residual stream.
    if (fused === 'attention_out' || fused === 'mlp_out')
      this.#rowSums.push(this.#g.node('ReduceSum', [x, this.#g.int64([1])], { keepdims: 1 }));
    const product = this.#plainProduct(x, matrix);
    return bias ? this.#g.node('Add', [product, bias]) : product;
  }

  /** Makes rows of hidden [T, D] NaN if the runtime's rounding has hidden their non-finite numbers. Our operator hides none. */
  spreadNonFinite(hidden: Value): Value {
    if (this.#rowSums.length === 0) return hidden;
    const sum = this.#g.node('Sum', this.#rowSums);
    return this.#g.node('Add', [hidden, this.#g.node('Mul', [sum, this.#g.float(0)])]);
  }

  #plainProduct(x: Value, { values, groups, scales, factors, floatInputs }: RowMatrix): Value {
    const g = this.#g;
    const { weight } = this.#options;
    const smooth = g.node('Mul', [x, weight(factors)]);
    const shape = { groups, width: values[0]!.dims[0]! };
    const rows = quantizeGroups(g, smooth, shape, this.#zeroPointsOf(groups));
    const ofOutputs = weight(scales);
    const weights = values.map((v) => ({ data: weight(v), scales: ofOutputs }));
    const product = groupProduct(g, rows, weights);
    if (!floatInputs) return product;
    const taken = g.node('Gather', [x, weight(floatInputs.indices)], { axis: 1 });
    return g.node('Gemm', [taken, weight(floatInputs.values), product]);
  }

  /** Returns the zero points of rows in groups, which all linears with as many groups share. */
  #zeroPointsOf(groups: number): Value {
    const zeroPoints =
      this.#zeroPoints.get(groups) ?? rowZeroPoints(this.#g, this.#options.tokens, groups);
    this.#zeroPoints.set(groups, zeroPoints);
    return zeroPoints;
  }
}
