// Lowers the decoder to the serving graph: quantized matmuls, attention that appends to the KV cache in place, and the logits
// of the requested rows. B sequences x S new tokens = T tokens; D = hidden size, V = vocabulary, L = requested rows.

import { type FileLocation, GraphBuilder, MICROSOFT, type Value } from '../onnx/graph-builder.ts';
import type { FloatType } from '../settings/provider.ts';
import type { DecoderConfig } from './config.ts';
import { type DecoderLowering, decoder, type Projection, type Residual } from './decoder.ts';
import { KvAttention, type KvForm } from './kv-attention.ts';
import { type AdapterForm, LoraGraph } from './lora-graph.ts';
import { layerTensor, qkNorms } from './names.ts';
import { RowLinears } from './row-linears.ts';
import type { ServingTensor } from './row-weights.ts';
import { fusedLinear, headLinear, type RowForm, type RowLinear } from './row-weights.ts';
import {
  BLOCK_SIZE,
  EVEN_FORMS,
  embeddingMatrix,
  fusedBias,
  fusedMatrix,
  headMatrix,
  type ServingMatrix,
  vectorTensor,
  type WeightsMode,
} from './serving-weights.ts';
import { activated, normFactors, scaled, softcapped } from './shared-nodes.ts';
import { type FusedLinear, partWidths } from './target-modules.ts';
import { addTopLogits } from './top-logits.ts';

/** The model, its limits, and the form of its adapters. */
interface ServingGraphOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightsMode;
  /** Positions of the cache and of the rotary tables. */
  readonly maxSeqLength: number;
  /** Absent: the graph applies no adapters. */
  readonly adapters?: AdapterForm | undefined;
  /** Default: `f32`. */
  readonly kv?: KvForm;
  /** The output for the requested rows. Default: `logits`. */
  readonly head?: HeadForm;
  /** The per-token form of int8 weights. Default: scales per block. `packed` needs our own operator. */
  readonly rowForm?: RowForm | undefined;
  /** Whether the inputs of the fused linears and of the head are outputs, see `observation`. Default: no. */
  readonly observes?: boolean | undefined;
  /** The float type of values, cache, adapters, and weights that the table lists as float32. Default: float32. */
  readonly float?: FloatType;
  /** Whether the session holds the weights (the default), or each run passes them as inputs. */
  readonly weightsAs?: 'initializers' | 'inputs';
  /** The weights' positions in their file, for a session that reads them from there. */
  readonly locations?: ReadonlyMap<string, FileLocation>;
}

/** `logits`: the logits and the largest of them. `hidden`: the last norm's output, without the output head's product. */
export type HeadForm = 'logits' | 'hidden';

/**
 * Returns the name of the output that observes a linear: float32 [1 + L, in], the largest magnitudes of its inputs and its
 * inputs at the requested rows.
 */
export function observation({ name }: RowLinear): string {
  return `observed.${name}`;
}

/**
 * The names of a serving graph's inputs and outputs. `float` is the type from the options. See also `LORA_INPUTS` and
 * `KV_INPUTS`.
 */
export const SERVING = {
  /** int64 [T] */
  inputIds: 'input_ids',
  /** int64 [3] = [B, S, -1] */
  batchShape: 'batch_shape',
  /** int32 [B]: tokens in the cache after this run, minus one */
  seqLengths: 'seqlens_k',
  /** int32 scalar: the largest number of tokens in the cache after this run */
  totalLength: 'total_sequence_length',
  /** int64 [L]: the requested token rows */
  logitRows: 'logit_rows',
  /** float32 [L, V] */
  logits: 'logits',
  /** float32 [L, D]: if adapters change the output head, an output in addition to the logits */
  hidden: 'hidden',
  /** float [maxSeq, rotaryDim / 2], by the index of the rotary embedding in the config */
  cos: (rope: number) => `rope_cos.${rope}`,
  sin: (rope: number) => `rope_sin.${rope}`,
} as const;

/** Returns the serialized graph. `servingTensors` lists the weights that it needs. */
export function servingGraph(options: ServingGraphOptions): Uint8Array {
  const { config, head: form = 'logits' } = options;
  const ops = new ServingLowering(options);
  const hidden = ops.spreadNonFinite(decoder(ops, config));
  ops.observe(hidden, headLinear(config));
  const rows = ops.g.node('Gather', [hidden, ops.logitRows], { axis: 0 }); // [L, D]
  if (form === 'hidden' || ops.changesHead) {
    const output = ops.g.cast(rows, 'float32', SERVING.hidden);
    ops.g.output(output, 'float32', ['logit_rows', config.hiddenSize]);
  }
  if (form === 'hidden') return ops.g.toBytes(options.locations);
  const logits = ops.logits(rows);
  ops.g.output(logits, 'float32', ['logit_rows', config.vocabSize]);
  addTopLogits(ops.g, logits, config.vocabSize, ops.isOwn);
  return ops.g.toBytes(options.locations);
}

class ServingLowering implements DecoderLowering {
  readonly g = new GraphBuilder();
  readonly logitRows: Value;
  /** Whether our own operators compute the linears, attention and the largest logits. */
  readonly isOwn: boolean;
  readonly #options: ServingGraphOptions;
  readonly #config: DecoderConfig;
  readonly #float: FloatType;
  readonly #inputIds: Value;
  readonly #batchShape: Value;
  readonly #kv: KvAttention;
  readonly #lora: LoraGraph;
  readonly #weightInputs = new Map<string, Value>();
  readonly #rows: RowLinears | undefined;

  constructor(options: ServingGraphOptions) {
    const { config, maxSeqLength, float = 'float32', kv: form = 'f32' } = options;
    const g = this.g;
    this.#options = options;
    this.#config = config;
    this.#float = float;
    this.#inputIds = g.input(SERVING.inputIds, 'int64', ['tokens']);
    this.#batchShape = g.input(SERVING.batchShape, 'int64', [3]);
    const seqLengths = g.input(SERVING.seqLengths, 'int32', ['batch']);
    const totalLength = g.input(SERVING.totalLength, 'int32', []);
    this.logitRows = g.input(SERVING.logitRows, 'int64', ['logit_rows']);
    const table = [maxSeqLength, config.rotaryDim / 2];
    const tables = config.ropes.map((_, i) => ({
      cos: g.input(SERVING.cos(i), float, table),
      sin: g.input(SERVING.sin(i), float, table),
    }));
    this.isOwn = options.rowForm?.packing === 'packed';
    const inputs = { batchShape: this.#batchShape, seqLengths, totalLength, tables };
    const shape = { config, maxSeqLength, float, form, isOwn: this.isOwn };
    this.#kv = new KvAttention(g, { ...shape, ...inputs });
    this.#lora = new LoraGraph(g, { config, form: options.adapters, float, isOwn: this.isOwn });
    const weight = (tensor: ServingTensor) => this.#weight(tensor);
    this.#rows =
      options.rowForm &&
      new RowLinears(g, { config, form: options.rowForm, weight, tokens: this.#inputIds });
  }

  embed(): Value {
    return this.#lora.changeEmbeddings(this.#baseEmbeddings());
  }

  #baseEmbeddings(): Value {
    const { values, scales } = embeddingMatrix(this.#config, this.#options.weights);
    const g = this.g;
    const rows = g.node('Gather', [this.#weight(values), this.#inputIds], { axis: 0 });
    if (!scales) return rows; // [T, D]
    const scale = g.node('Gather', [this.#weight(scales), this.#inputIds], { axis: 0 }); // [T, D/64]
    const wide = g.cast(rows, this.#float);
    const codes = g.node('Sub', [wide, g.float(128, this.#float)]);
    const scaled = g.node('Mul', [codes, g.node('Unsqueeze', [scale, g.int64([2])])]);
    return g.node('Reshape', [scaled, g.int64([-1, this.#config.hiddenSize])]);
  }

  join({ sum, delta }: Residual): Value {
    return delta ? this.g.node('Add', [sum, delta]) : sum;
  }

  scale(x: Value, factor: number): Value {
    return scaled(this.g, x, factor, this.#float);
  }

  norm({ sum, delta }: Residual, weight: string): { sum: Value; normalized: Value } {
    const { hiddenSize } = this.#config;
    const gamma = this.#normFactors(weight, hiddenSize);
    const ofRows = this.#lora.normWeights(gamma, weight, hiddenSize);
    const shared = ofRows ? this.#ones(hiddenSize) : gamma;
    const weighted = (x: Value) => (ofRows ? this.g.node('Mul', [x, ofRows]) : x);
    const epsilon = { float: this.#config.rmsNormEps };
    if (!delta) return { sum, normalized: weighted(this.#rmsNorm(sum, shared)) };
    const [normalized, added] = this.g.nodeWithOutputs(
      'SkipSimplifiedLayerNormalization',
      [sum, delta, shared],
      { epsilon },
      { domain: MICROSOFT, outputs: [true, false, false, true] },
    );
    return { sum: added!, normalized: weighted(normalized!) };
  }

  linear(x: Value, layer: number, fused: FusedLinear): Projection {
    if (this.#rows && this.isOwn)
      return [this.#rows.product(x, layer, fused, this.#lora.operands(layer, fused))];
    const product = this.#baseProduct(x, layer, fused);
    this.observe(x, fusedLinear(this.#config, layer, fused));
    const base = this.#lora.changeOutputs(product, layer, fused);
    const update = this.#lora.update(x, layer, fused);
    return [update ? this.g.node('Add', [base, update]) : base];
  }

  attention(qkv: Projection, layer: number): Value {
    return this.#kv.attend(this.#queryKeyValue(qkv, layer), layer);
  }

  /** Makes rows of hidden [T, D] NaN if rounding has hidden their non-finite numbers. */
  spreadNonFinite(hidden: Value): Value {
    const spread = this.#kv.spreadNonFinite(hidden, this.#batchShape);
    return this.#rows?.spreadNonFinite(spread) ?? spread;
  }

  get changesHead(): boolean {
    return this.#lora.changesHead;
  }

  gated(gateUp: Projection): Value {
    if (this.isOwn) return gateUp[0]!; // the next linear activates it
    const [gate, up] = this.#parts(gateUp, 'mlp_in');
    return this.g.node('Mul', [activated(this.g, gate!, this.#config.activation), up]);
  }

  /** Returns the logits [L, V], always in float32: sampling needs full precision. */
  logits(rows: Value): Value {
    const { logitsScale, logitsSoftcap } = this.#config;
    const x = this.scale(rows, logitsScale);
    const isWide = this.#float === 'float32';
    const name = logitsSoftcap ? undefined : SERVING.logits;
    const product = this.#headProduct(x, isWide ? name : undefined);
    const logits = isWide ? product : this.g.cast(product, 'float32', name);
    return logitsSoftcap ? softcapped(this.g, logits, logitsSoftcap, SERVING.logits) : logits;
  }

  /** Multiplies x [T, in] by the transposed matrix [out, in] and adds the bias: [T, out]. */
  matmul(x: Value, m: ServingMatrix, bias: ServingTensor | undefined, name?: string): Value {
    const g = this.g;
    const values = this.#weight(m.values);
    const scales = m.scales && this.#weight(m.scales);
    const b = bias && this.#weight(bias);
    const shape = { K: m.cols, N: m.rows };
    const options = { domain: MICROSOFT, outputs: [name ?? true] };
    switch (m.form) {
      case 'q8':
      case 'q4': {
        const { bits, block } = EVEN_FORMS[m.form];
        const attributes = { ...shape, bits, block_size: block, accuracy_level: 4 };
        const zeros = m.zeroPoints && this.#weight(m.zeroPoints);
        const inputs = [x, values, scales, zeros, undefined, b];
        while (inputs.at(-1) === undefined) inputs.pop();
        return g.nodeWithOutputs('MatMulNBits', inputs, attributes, options)[0]!;
      }
      case 'nf4': {
        const attributes = { ...shape, block_size: BLOCK_SIZE, quant_type: 1 };
        const inputs = [x, values, scales];
        if (!b) return g.nodeWithOutputs('MatMulBnb4', inputs, attributes, options)[0]!;
        const y = g.node('MatMulBnb4', inputs, attributes, MICROSOFT);
        return g.nodeWithOutputs('Add', [y, b], {}, { outputs: options.outputs })[0]!;
      }
      case 'f32': {
        const inputs = b ? [x, values, b] : [x, values];
        const { outputs } = options;
        return g.nodeWithOutputs('Gemm', inputs, { transB: 1 }, { outputs })[0]!;
      }
    }
  }

  /** Adds the inputs x [T, in] of a linear to the outputs if the graph observes them. */
  observe(x: Value, linear: RowLinear): void {
    if (!this.#options.observes) return;
    const g = this.g;
    const largest = g.node('ReduceMax', [g.node('Abs', [x]), g.int64([0])], { keepdims: 1 });
    const sample = g.node('Gather', [x, this.logitRows], { axis: 0 });
    const outputs = [observation(linear)];
    const [value] = g.nodeWithOutputs('Concat', [largest, sample], { axis: 0 }, { outputs });
    g.output(value!, 'float32', ['observed_rows', linear.inputs]);
  }

  #baseProduct(x: Value, layer: number, fused: FusedLinear): Value {
    if (this.#rows) return this.#rows.product(x, layer, fused, []);
    const bias = fusedBias(this.#config, layer, fused);
    return this.matmul(x, fusedMatrix(this.#config, this.#options.weights, layer, fused), bias);
  }

  #headProduct(x: Value, name: string | undefined): Value {
    if (this.#rows) return this.#rows.head(x, name);
    return this.matmul(x, headMatrix(this.#config, this.#options.weights), undefined, name);
  }

  /** Returns the operands of attention. q, k and v stay packed in one operand unless q or k has a norm. */
  #queryKeyValue(qkv: Projection, layer: number): readonly Value[] {
    const norms = qkNorms(this.#config);
    if (norms.length === 0) return qkv;
    const widths = partWidths(this.#config, 'attention_in');
    return this.#parts(qkv, 'attention_in').map((part, i) => {
      if (!norms[i]) return part;
      const [name, width] = norms[i];
      const normalized = this.#partNorm(part, layerTensor(layer, name), width);
      return this.g.node('Reshape', [normalized, this.g.int64([-1, widths[i]!])]);
    });
  }

  /** Normalizes every `width` values of x [T, parts * width]. Returns [T * parts, width], or [T, parts, width]. */
  #partNorm(x: Value, weight: string, width: number): Value {
    const gamma = this.#normFactors(weight, width);
    const parts = (shape: number[]) => this.g.node('Reshape', [x, this.g.int64(shape)]);
    const ofRows = this.#lora.normWeights(gamma, weight, width);
    if (!ofRows) return this.#rmsNorm(parts([-1, width]), gamma);
    const normalized = this.#rmsNorm(parts([0, -1, width]), this.#ones(width));
    return this.g.node('Mul', [normalized, this.g.node('Unsqueeze', [ofRows, this.g.int64([1])])]);
  }

  #ones(length: number): Value {
    return this.g.node('Expand', [this.g.float(1, this.#float), this.g.int64([length])]);
  }

  #normFactors(name: string, width: number): Value {
    const weight = this.#weight(vectorTensor(name, width));
    return normFactors(this.g, weight, this.#config, this.#float);
  }

  #rmsNorm(x: Value, gamma: Value): Value {
    const attributes = { axis: -1, epsilon: { float: this.#config.rmsNormEps }, stash_type: 1 };
    return this.g.node('SimplifiedLayerNormalization', [x, gamma], attributes);
  }

  #parts([packed]: Projection, fused: FusedLinear): readonly Value[] {
    return this.g.split(packed!, partWidths(this.#config, fused), 1);
  }

  #weight({ name, type, dims }: ServingTensor): Value {
    const held = type === 'float32' ? this.#float : type;
    if (this.#options.weightsAs !== 'inputs') return this.g.external(name, held, dims);
    const value = this.#weightInputs.get(name) ?? this.g.input(name, held, dims);
    this.#weightInputs.set(name, value);
    return value;
  }
}
