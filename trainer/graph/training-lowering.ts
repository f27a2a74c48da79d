// Lowers decoder blocks to a training graph. Every weight is an input, so one graph serves all layers. Attention is built from
// operators that have gradient rules, and LoRA is applied to the adapted linears.
// N rows (sequences) x T positions = tokens; D hidden; H heads, KV key heads, G = H / KV; hd head size; r rank.
import type { DecoderConfig, LayerAttention } from '../../src/model/config.ts';
import type { BlockLowering, Projection, Residual } from '../../src/model/decoder.ts';
import { rotaryAttributes } from '../../src/model/kv-attention.ts';
import { biasName, hasBias, layerTensor, qkNorms, weightName } from '../../src/model/names.ts';
import {
  type QuantizedRows,
  quantizeRows,
  type RowInt8Weight,
  rowProduct,
  weightValues,
} from '../../src/model/row-product.ts';
import { activated, normFactors, scaled, softcapped } from '../../src/model/shared-nodes.ts';
import {
  type FusedLinear,
  fusedTargets,
  moduleName,
  partWidths,
  TARGET_MODULES,
  type TargetName,
} from '../../src/model/target-modules.ts';
import {
  type Dims,
  type ElementType,
  GraphBuilder,
  MICROSOFT,
  type Value,
} from '../../src/onnx/graph-builder.ts';
import type { Rule } from '../autodiff/rules.ts';
import type { Compute, ModuleUpdate } from '../types.ts';
import { adaptedLinear } from './adapted-linear.ts';
import { BATCH_INPUTS, INPUT_SUFFIX } from './inputs.ts';
import { rowInt8Input, rowProductRule } from './row-int8.ts';

/** The adapted linears of one block. */
export type BlockAdapter = ReadonlyMap<TargetName, ModuleUpdate>;

interface LinearPlace {
  readonly layer: number;
  readonly target: TargetName;
}

/** Options of a training graph. */
export interface LoweringOptions {
  readonly config: DecoderConfig;
  /** The attention of each block. */
  readonly layers: readonly LayerAttention[];
  /** The adapted linears of each block. */
  readonly adapters: readonly BlockAdapter[];
  /** Whether LoRA's inputs are multiplied with dropout masks. */
  readonly dropout: boolean;
  /** The arithmetic of the frozen linears. */
  readonly compute: Compute;
}

/** Builds training graphs. Layers count from the graph's first block, so its input names fit anywhere in the model. */
export class TrainingLowering implements BlockLowering {
  readonly g = new GraphBuilder();
  /** Shapes that depend on the batch and cannot be inferred. */
  readonly declared = new Map<Value, Dims>();
  /** Rules that `appendBackward` uses instead of the operators' rules. */
  readonly ownRules = new Map<Value, Rule>();
  readonly #config: DecoderConfig;
  readonly #options: LoweringOptions;
  readonly #batchShape: Value;
  /** Weights and tables by name. */
  readonly #inputs = new Map<string, Value>();
  /** The rounded inputs of linears. Linears with the same input share one. */
  readonly #quantized = new Map<Value, QuantizedRows>();
  readonly #rowInt8Weights = new Map<string, RowInt8Weight>();

  constructor(options: LoweringOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#batchShape = this.g.input(BATCH_INPUTS.shape, 'int64', [3]);
  }

  join({ sum, delta }: Residual): Value {
    return delta ? this.g.node('Add', [sum, delta]) : sum; // [tokens, D]
  }

  scale(x: Value, factor: number): Value {
    return scaled(this.g, x, factor);
  }

  norm(residual: Residual, weight: string): { sum: Value; normalized: Value } {
    const sum = this.join(residual);
    return { sum, normalized: this.#rmsNorm(sum, weight, this.#config.hiddenSize) };
  }

  linear(x: Value, layer: number, fused: FusedLinear): Projection {
    const outputs = fusedTargets(this.#config, fused).map((target) =>
      this.#linear(x, layer, target),
    );
    const widths = partWidths(this.#config, fused);
    return outputs.length < widths.length ? this.#split(outputs[0]!, widths) : outputs;
  }

  attention(qkv: Projection, layer: number): Value {
    const { headCount, kvHeadCount, headDim, attentionScale, attentionSoftcap } = this.#config;
    const { g } = this;
    const norms = qkNorms(this.#config);
    const [q, k, v] = qkv.map((part, i) => (norms[i] ? this.#qkNorm(part, layer, i) : part));
    const query = this.#toHeads(this.#rotate(q!, headCount, layer), 'q');
    const key = this.#toHeads(this.#rotate(k!, kvHeadCount, layer), 'kv');
    const value = this.#toHeads(this.#toBatch(v!, kvHeadCount), 'kv');
    const alpha = { float: attentionScale };
    const products = g.node('FusedMatMul', [query, key], { transB: 1, alpha }, MICROSOFT); // [N, KV, G*T, T]
    const scores = attentionSoftcap ? softcapped(g, products, attentionSoftcap) : products;
    const mask = BATCH_INPUTS.attentionMask(this.#options.layers[layer]!);
    const maskDims = ['rows', 1, 'queries', 'length'];
    const masked = g.node('Add', [scores, this.#input(mask, 'float32', maskDims)]);
    const mixed = g.node('MatMul', [g.node('Softmax', [masked], { axis: -1 }), value]); // [N, KV, G*T, hd]
    const split = this.#reshape(mixed, [0, headCount, -1, headDim], HEADS(headCount, headDim));
    const merged = g.node('Transpose', [split], { perm: [0, 2, 1, 3] }); // [N, T, H, hd]
    const width = headCount * headDim;
    return this.#reshape(merged, [-1, width], ['tokens', width]);
  }

  gated(gateUp: Projection): Value {
    const [gate, up] = gateUp;
    return this.g.node('Mul', [activated(this.g, gate!, this.#config.activation), up]);
  }

  /** Splits [tokens, sum of widths] along its columns. */
  #split(x: Value, widths: readonly number[]): Value[] {
    let end = 0;
    return widths.map((width) => {
      const start = end;
      end += width;
      const bounds = [start, end, 1].map((bound) => this.g.int64([bound]));
      const part = this.g.node('Slice', [x, bounds[0], bounds[1], bounds[2]]);
      this.declared.set(part, ['tokens', width]);
      return part;
    });
  }

  /** Computes x Wᵀ (+ bias), plus the adapter's contribution: [tokens, out]. */
  #linear(x: Value, layer: number, target: TargetName): Value {
    const bias = this.#bias(layer, target);
    const product = (rows: Value, added: readonly Value[]) =>
      this.#product(rows, { layer, target, bias: added });
    const update = this.#options.adapters[layer]!.get(target);
    if (!update) return product(x, bias);
    const module = moduleName(layer, target);
    const shape = this.#shapeOf(target);
    return adaptedLinear(x, {
      ...{ g: this.g, compute: this.#options.compute, ownRules: this.ownRules },
      ...{ module, shape, update, bias, product },
      dropoutMask: this.#options.dropout
        ? this.#input(module + INPUT_SUFFIX.mask, 'float32', ['tokens', shape[1]])
        : undefined,
      active: update.isActivated
        ? this.#input(BATCH_INPUTS.active, 'float32', ['tokens', 1])
        : undefined,
      weight: (name, dims) => this.#weight(name, dims),
      dense: () => this.#dense(layer, target),
    });
  }

  /** Computes x Wᵀ (+ bias) in the run's arithmetic: [tokens, out]. */
  #product(
    x: Value,
    { layer, target, bias }: LinearPlace & { readonly bias: readonly Value[] },
  ): Value {
    const { g } = this;
    const name = weightName(layer, target);
    const shape = this.#shapeOf(target);
    if (this.#options.compute === 'float32') {
      return g.node('Gemm', [x, this.#weight(name, shape), ...bias], { transB: 1 });
    }
    const rows = this.#quantized.get(x) ?? quantizeRows(g, x);
    this.#quantized.set(x, rows);
    const weight = this.#rowInt8(name, shape);
    const y = rowProduct(g, rows, weight);
    this.declared.set(y, ['tokens', shape[0]]);
    this.ownRules.set(y, rowProductRule(x, weight));
    return bias.reduce((sum, value) => g.node('Add', [sum, value]), y);
  }

  /** Returns a linear's weight in float32: [out, in]. */
  #dense(layer: number, target: TargetName): Value {
    const { g } = this;
    const name = weightName(layer, target);
    const shape = this.#shapeOf(target);
    if (this.#options.compute === 'float32') return this.#weight(name, shape);
    const values = weightValues(g, this.#rowInt8(name, shape));
    const dense = g.node('Transpose', [values], { perm: [1, 0] });
    this.declared.set(dense, shape);
    return dense;
  }

  #rowInt8(name: string, shape: readonly [number, number]): RowInt8Weight {
    const weight = this.#rowInt8Weights.get(name) ?? rowInt8Input(this.g, name, shape);
    this.#rowInt8Weights.set(name, weight);
    return weight;
  }

  /** Returns the shape [out, in] of a linear's weight. */
  #shapeOf(target: TargetName): readonly [number, number] {
    const { inFeatures, outFeatures } = TARGET_MODULES[target];
    return [outFeatures(this.#config), inFeatures(this.#config)];
  }

  /** Returns the linear's bias, or an empty list. */
  #bias(layer: number, target: TargetName): Value[] {
    if (!hasBias(this.#config, target)) return [];
    return [this.#weight(biasName(layer, target), [this.#shapeOf(target)[0]])];
  }

  #rmsNorm(x: Value, name: string, width: number): Value {
    return rmsNorm(this.g, x, this.#weight(name, [width]), this.#config);
  }

  /** Applies the norm of q (part 0) or k (part 1): [tokens, heads*hd]. */
  #qkNorm(x: Value, layer: number, part: number): Value {
    const [name, width] = qkNorms(this.#config)[part]!;
    const rowWidth = partWidths(this.#config, 'attention_in')[part]!;
    const rows = this.#reshape(x, [-1, width], ['tokens*heads', width]);
    const normalized = this.#rmsNorm(rows, layerTensor(layer, name), width);
    return this.#reshape(normalized, [-1, rowWidth], ['tokens', rowWidth]);
  }

  /** Applies the layer's rotary embedding, if it has one: [tokens, heads*hd] → [N, T, heads*hd]. */
  #rotate(x: Value, heads: number, layer: number): Value {
    const batched = this.#toBatch(x, heads);
    const { rope } = this.#options.layers[layer]!;
    if (!rope) return batched;
    const index = this.#config.ropes.indexOf(rope);
    const table = ['positions', this.#config.rotaryDim / 2];
    const inputs = [
      batched,
      this.#input(BATCH_INPUTS.positions, 'int64', ['rows', 'length']),
      this.#input(BATCH_INPUTS.cos(index), 'float32', table),
      this.#input(BATCH_INPUTS.sin(index), 'float32', table),
    ];
    const attributes = rotaryAttributes(this.#config, heads);
    return this.g.node('RotaryEmbedding', inputs, attributes, MICROSOFT);
  }

  #toBatch(x: Value, heads: number): Value {
    const batched = this.g.node('Reshape', [x, this.#batchShape]);
    this.declared.set(batched, ['rows', 'length', heads * this.#config.headDim]);
    return batched;
  }

  /** [N, T, heads*hd] → [N, KV, T, hd]. The queries of the G heads that share a key head are consecutive. */
  #toHeads(x: Value, kind: 'q' | 'kv'): Value {
    const { headCount, kvHeadCount, headDim } = this.#config;
    const heads = kind === 'q' ? headCount : kvHeadCount;
    const split = this.#reshape(x, [0, 0, heads, headDim], ['rows', 'length', heads, headDim]);
    const byHead = this.g.node('Transpose', [split], { perm: [0, 2, 1, 3] }); // [N, heads, T, hd]
    if (kind === 'kv') return byHead;
    const dims = ['rows', kvHeadCount, 'queries', headDim];
    return this.#reshape(byHead, [0, kvHeadCount, -1, headDim], dims);
  }

  #reshape(x: Value, shape: readonly number[], dims: Dims): Value {
    const reshaped = this.g.node('Reshape', [x, this.g.int64(shape)]);
    this.declared.set(reshaped, dims);
    return reshaped;
  }

  #weight(name: string, dims: readonly number[]): Value {
    return this.#input(name, 'float32', dims);
  }

  #input(name: string, type: ElementType, dims: Dims): Value {
    const value = this.#inputs.get(name) ?? this.g.input(name, type, dims);
    this.#inputs.set(name, value);
    return value;
  }
}

const HEADS = (heads: number, headDim: number): Dims => ['rows', heads, 'length', headDim];

/**
 * Applies RMS norm over the last axis of x [.., width] with the norm's weight. The second output, 1 / root mean square, is for
 * the gradient.
 */
export function rmsNorm(g: GraphBuilder, x: Value, weight: Value, config: DecoderConfig): Value {
  const gamma = normFactors(g, weight, config);
  const attributes = { axis: -1, epsilon: { float: config.rmsNormEps }, stash_type: 1 };
  const outputs = [true, true];
  return g.nodeWithOutputs('SimplifiedLayerNormalization', [x, gamma], attributes, { outputs })[0]!;
}
