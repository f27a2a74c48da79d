// Attention over the KV cache, as graph nodes. With a float cache it is one operator. An int8 cache has a scale per KV head and
// channel. The runtime's operator for it is fast for one new token per sequence but slow for several. A run of several tokens
// therefore quantizes, appends and dequantizes with separate operators, which compute the same. Our own operator computes all of
// these forms.
import { assert } from '../common/assert.ts';
import { type GraphBuilder, LORIKEET, MICROSOFT, type Value } from '../onnx/graph-builder.ts';
import type { FloatType } from '../settings/provider.ts';
import type { DecoderConfig } from './config.ts';
import type { Rope } from './rope.ts';

/** The formats of the KV cache: 8 bits with fixed scales, 16 bits for our own operators, or the graph's float type. */
const KV_TYPES = ['int8', 'f16', 'f32'] as const;
/** The name of a cache's format. */
export type KvType = (typeof KV_TYPES)[number];

/**
 * The form of a graph, by the elements of the cache. Our own operator takes any number of new tokens. With the runtime's operators
 * there is no `f16`, and `int8` is for one token per sequence.
 */
export type KvForm = KvType | 'int8 several tokens';

/** Our own operator, by the elements of the cache. */
const OWN_OPERATORS: Readonly<Record<KvType, string>> = {
  f32: 'CachedAttention',
  f16: 'CachedAttentionHalf',
  int8: 'CachedAttentionInt8',
};

/** The names of inputs and outputs. T = B sequences x S new tokens. */
export const KV_INPUTS = {
  /** [B, kvHeads, maxSeq, headDim], float or int8; past and present are bound to the same memory */
  past: (layer: number, half: KvHalf) => `past_key_values.${layer}.${half}`,
  present: (layer: number, half: KvHalf) => `present.${layer}.${half}`,
  /** float32 [1, kvHeads, 1, headDim], for int8: the value of one step */
  scale: (layer: number, half: KvHalf) => `kv_scale.${layer}.${half}`,
  /** int64 [1, S], for several tokens: the positions of the new tokens */
  positions: 'positions',
  /** int64 [1, kvHeads, S, 3], for several tokens: slot, head and position of each row to write */
  cacheRows: 'cache_rows',
} as const;

export const KV_HALVES = ['key', 'value'] as const;
/** Keys or values. */
type KvHalf = (typeof KV_HALVES)[number];

/** Query, keys and values, each [T, width]; or all three packed in one operand. */
type QueryKeyValue = readonly Value[];

/** The cache of a layer. */
interface CacheOperands {
  readonly layer: number;
  readonly past: readonly Value[];
  /** Empty if the cache holds floats. */
  readonly scales: readonly Value[];
}

interface KvAttentionOptions {
  readonly config: DecoderConfig;
  readonly maxSeqLength: number;
  readonly float: FloatType;
  readonly form: KvForm;
  /** Whether our own operator computes it. */
  readonly isOwn: boolean;
  /** See `SERVING`. */
  readonly batchShape: Value;
  readonly seqLengths: Value;
  readonly totalLength: Value;
  /** One per rotary embedding of the config. */
  readonly tables: readonly RopeTables[];
}

/** The inputs with a rotary embedding's tables. */
interface RopeTables {
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * An attention sink without effect on the softmax. With a sink, the runtime computes whole rows of scores, which for a single
 * token takes 0.7 times as long as its tiles.
 */
const NO_SINK = -1e30;
const INT8 = 3; // TensorProto.DataType.INT8

/** Builds the attention of all layers of one graph. */
export class KvAttention {
  readonly #g: GraphBuilder;
  readonly #options: KvAttentionOptions;
  readonly #cacheDims: readonly (number | string)[];
  /** One sum [B, 1, 1] per operand of an int8 graph. */
  readonly #sums: Value[] = [];
  /** For several tokens. */
  readonly #positions: Value | undefined;
  readonly #cacheRows: Value | undefined;
  readonly #total: Value | undefined;
  /** For one token over an int8 cache. */
  readonly #sink: Value | undefined;

  constructor(g: GraphBuilder, options: KvAttentionOptions) {
    const { config, maxSeqLength, form, totalLength } = options;
    this.#g = g;
    this.#options = options;
    this.#cacheDims = ['batch', config.kvHeadCount, maxSeqLength, config.headDim];
    if (form === 'int8' && !options.isOwn) {
      this.#sink = g.node('Expand', [g.float(NO_SINK), g.int64([config.headCount])]);
    } else if (form === 'int8 several tokens') {
      const rows = [1, config.kvHeadCount, 'new_tokens', 3];
      this.#positions = g.input(KV_INPUTS.positions, 'int64', [1, 'new_tokens']);
      this.#cacheRows = g.input(KV_INPUTS.cacheRows, 'int64', rows);
      this.#total = g.node('Unsqueeze', [g.cast(totalLength, 'int64'), g.int64([0])]);
    }
  }

  /** Appends to the cache of a layer and attends to it. Returns [T, heads * headDim]. */
  attend(operands: QueryKeyValue, layer: number): Value {
    const g = this.#g;
    const { config, form, float, isOwn, batchShape } = this.#options;
    const { headCount, kvHeadCount, headDim } = config;
    const type = form === 'f32' ? float : form === 'f16' ? 'float16' : 'int8';
    const past = KV_HALVES.map((half) => {
      g.output(KV_INPUTS.present(layer, half) as Value, type, this.#cacheDims);
      return g.input(KV_INPUTS.past(layer, half), type, this.#cacheDims);
    });
    const scales = (this.#hasFloats ? [] : KV_HALVES).map((half) =>
      g.input(KV_INPUTS.scale(layer, half), 'float32', [1, kvHeadCount, 1, headDim]),
    );
    const cache = { layer, past, scales };
    if (isOwn) return this.#ownOperator(operands, cache);
    const batch = operands.map((v) => g.node('Reshape', [v, batchShape])); // [T, w] → [B, S, w]
    // An int8 cache would store a NaN as a number and hide the error.
    for (const v of this.#hasFloats ? [] : batch)
      this.#sums.push(g.node('ReduceSum', [v, g.int64([1, 2])]));
    const attended =
      form === 'int8 several tokens' ? this.#several(batch, cache) : this.#operator(batch, cache);
    return g.node('Reshape', [attended, g.int64([-1, headCount * headDim])]);
  }

  /** Makes all rows of a sequence NaN if any of its queries, keys or values is not finite. `hidden` is [T, D]. */
  spreadNonFinite(hidden: Value, batchShape: Value): Value {
    if (this.#sums.length === 0) return hidden;
    const g = this.#g;
    const zeros = g.node('Mul', [g.node('Sum', this.#sums), g.float(0)]); // 0, or NaN
    const sequences = g.node('Reshape', [hidden, batchShape]);
    const { hiddenSize } = this.#options.config;
    return g.node('Reshape', [g.node('Add', [sequences, zeros]), g.int64([-1, hiddenSize])]);
  }

  #ownOperator([query, key, value]: QueryKeyValue, { layer, past, scales }: CacheOperands): Value {
    const { form, seqLengths } = this.#options;
    assert(form !== 'int8 several tokens', 'our own operators take any number of tokens');
    const { softcap, local_window_size: window = 0, ...attributes } = this.#attributes(layer);
    return this.#g.nodeWithOutputs(
      OWN_OPERATORS[form],
      [query, key, value, ...past, seqLengths, ...this.#rotation(layer), ...scales],
      { ...attributes, window, softcap: softcap ?? { float: 0 } },
      { domain: LORIKEET, outputs: [true, ...presentOf(layer)] },
    )[0]!;
  }

  /** Rotates, appends and attends in one operator. */
  #operator([query, key, value]: QueryKeyValue, { layer, past, scales }: CacheOperands): Value {
    const { seqLengths, totalLength } = this.#options;
    const rotation = this.#rotation(layer);
    const inputs = [query, key, value, ...past, seqLengths, totalLength, ...rotation];
    const attributes = { ...this.#attributes(layer), do_rotary: rotation[0] ? 1 : 0 };
    const quantized = { k_quant_type: 'PER_CHANNEL', v_quant_type: 'PER_CHANNEL' };
    return this.#g.nodeWithOutputs(
      'GroupQueryAttention',
      this.#hasFloats ? inputs : [...inputs, undefined, undefined, this.#sink, ...scales],
      this.#hasFloats ? attributes : { ...attributes, ...quantized, kv_cache_bit_width: 8 },
      { domain: MICROSOFT, outputs: [true, ...presentOf(layer)] },
    )[0]!;
  }

  /** Computes the same as `#operator` over an int8 cache, for several tokens of one sequence. */
  #several(operands: QueryKeyValue, { layer, past, scales }: CacheOperands): Value {
    const g = this.#g;
    const { seqLengths, totalLength } = this.#options;
    const [query, key, value] = this.#rotated(operands, layer);
    const wide = [key!, value!].map((rows, i) => {
      const scale = scales[i]!;
      const attributes = { ...this.#blocks, output_dtype: INT8 };
      const codes = g.node('QuantizeLinear', [this.#toHeads(rows), scale], attributes);
      const outputs = [presentOf(layer)[i]!];
      const written = [past[i]!, this.#cacheRows, codes];
      const [present] = g.nodeWithOutputs('ScatterND', written, {}, { outputs });
      const used = g.node('Slice', [present!, g.int64([0]), this.#total, g.int64([2])]);
      return g.node('DequantizeLinear', [used, scale], this.#blocks);
    });
    // Without new keys and values, the operator attends only to the given ones.
    const none = g.node('Slice', [value!, g.int64([0]), g.int64([0]), g.int64([1])]);
    const inputs = [query, none, none, ...wide, seqLengths, totalLength];
    // The operator crashes without its other outputs, although nothing reads them.
    const options = { domain: MICROSOFT, outputs: [true, true, true] };
    const attributes = { ...this.#attributes(layer), do_rotary: 0 };
    return g.nodeWithOutputs('GroupQueryAttention', inputs, attributes, options)[0]!;
  }

  #rotated(operands: QueryKeyValue, layer: number): Value[] {
    const g = this.#g;
    const { config } = this.#options;
    const { headCount, kvHeadCount, headDim } = config;
    const [cos, sin] = this.#rotation(layer);
    const rotate = (x: Value, heads: number) => {
      if (!cos) return x;
      const attributes = rotaryAttributes(config, heads);
      return g.node('RotaryEmbedding', [x, this.#positions, cos, sin], attributes, MICROSOFT);
    };
    const widths = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim);
    const [q, k, v] = operands.length === 1 ? g.split(operands[0]!, widths, 2) : operands;
    return [rotate(q!, headCount), rotate(k!, kvHeadCount), v!];
  }

  /** [1, S, kvHeads * headDim] → [1, kvHeads, S, headDim] */
  #toHeads(rows: Value): Value {
    const { kvHeadCount, headDim } = this.#options.config;
    const heads = this.#g.node('Reshape', [rows, this.#g.int64([0, 0, kvHeadCount, headDim])]);
    return this.#g.node('Transpose', [heads], { perm: [0, 2, 1, 3] });
  }

  /** Whether the cache holds floats, of any size. */
  get #hasFloats(): boolean {
    const { form } = this.#options;
    return form === 'f32' || form === 'f16';
  }

  /** All positions share one scale. */
  get #blocks() {
    return { axis: 2, block_size: this.#options.maxSeqLength };
  }

  /** Returns the tables of a layer's rotary embedding, if it has one. */
  #rotation(layer: number): readonly (Value | undefined)[] {
    const { config, tables } = this.#options;
    const { rope } = config.layers[layer]!;
    const found = rope && tables[config.ropes.indexOf(rope)];
    return [found?.cos, found?.sin];
  }

  #attributes(layer: number) {
    const { config } = this.#options;
    const { headCount, kvHeadCount, attentionScale, attentionSoftcap } = config;
    const { slidingWindow, rope } = config.layers[layer]!;
    const isScaled = this.#hasFloats && keyFactor(config, rope) !== 1;
    return {
      num_heads: headCount,
      kv_num_heads: kvHeadCount,
      scale: { float: isScaled ? 1 : attentionScale },
      ...(attentionSoftcap ? { softcap: { float: attentionSoftcap } } : {}),
      ...(slidingWindow ? { local_window_size: slidingWindow } : {}),
    };
  }
}

function presentOf(layer: number): string[] {
  return KV_HALVES.map((half) => KV_INPUTS.present(layer, half));
}

/**
 * Returns the factor of a layer's queries and keys over a float cache. If the rotary embedding covers all channels, its tables
 * multiply both by the root of the scores' scale. The runtime reads the keys of a single query in place only if it does
 * not scale their product (docs/decisions/0035-scores-scaled-by-rotation.md).
 */
export function keyFactor(
  { headDim, rotaryDim, attentionScale }: DecoderConfig,
  rope: Rope | undefined,
): number {
  return rope && rotaryDim === headDim ? Math.sqrt(attentionScale) : 1;
}

/** Returns the attributes of a `RotaryEmbedding` over this many heads. */
export function rotaryAttributes({ headDim, rotaryDim }: DecoderConfig, heads: number) {
  const isPartial = rotaryDim < headDim;
  return { num_heads: heads, ...(isPartial ? { rotary_embedding_dim: rotaryDim } : {}) };
}
