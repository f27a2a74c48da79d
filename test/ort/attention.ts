// Attention over a KV cache: random cases, our operator and the runtime's, and their plain twin in float64.
import { MICROSOFT } from '../../src/onnx/graph-builder.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { seededRandom } from '../fixtures.ts';
import { runNode } from './one-node.ts';

export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Channels that are rotated. */
  readonly rotary: number;
  /** Positions that a token sees, itself included; 0: all. */
  readonly window: number;
  readonly softcap: number;
  readonly scale: number;
  readonly isPacked: boolean;
  readonly isInt8: boolean;
  /** Tokens in the cache before the run, per sequence. */
  readonly pasts: readonly number[];
  /** New tokens per sequence. */
  readonly tokens: number;
  readonly capacity: number;
  /** The largest query, key and value. */
  readonly magnitude: number;
}

type Cache = Float32Array<ArrayBuffer> | Int8Array<ArrayBuffer>;

/** B = sequences, S = new tokens per sequence, T = B * S, H = heads, G = KV heads, C = channels of a head, M = capacity. */
export interface Attention extends AttentionShape {
  /** [T, H, C] */
  readonly query: Float32Array<ArrayBuffer>;
  /** [T, G, C] */
  readonly key: Float32Array<ArrayBuffer>;
  readonly value: Float32Array<ArrayBuffer>;
  /** [B, G, M, C]. The positions after a sequence are NaN, or any code. */
  readonly keys: Cache;
  readonly values: Cache;
  /** [M, rotary / 2] */
  readonly cos: Float32Array<ArrayBuffer>;
  readonly sin: Float32Array<ArrayBuffer>;
  /** [G, C], the values of one step of an int8 cache */
  readonly keyScales: Float32Array<ArrayBuffer>;
  readonly valueScales: Float32Array<ArrayBuffer>;
}

/** The result [T, H, C] and the cache after a run. */
export interface Attended {
  readonly y: Float32Array<ArrayBuffer>;
  readonly keys: Cache;
  readonly values: Cache;
}

export function randomAttention(shape: AttentionShape, seed: number): Attention {
  const { heads, kvHeads, headDim, rotary, pasts, tokens, capacity, magnitude, isInt8 } = shape;
  const random = seededRandom(seed);
  const floats = (length: number) => Float32Array.from({ length }, () => magnitude * random());
  const codes = (length: number) => Int8Array.from({ length }, () => Math.floor(128 * random()));
  const cache = () => {
    const rows = pasts.length * kvHeads * capacity * headDim;
    if (isInt8) return codes(rows);
    const values = floats(rows);
    pasts.forEach((past, b) => {
      for (let g = 0; g < kvHeads; g++) {
        const start = (b * kvHeads + g) * capacity;
        values.fill(Number.NaN, (start + past) * headDim, (start + capacity) * headDim);
      }
    });
    return values;
  };
  const rows = pasts.length * tokens;
  const half = rotary / 2;
  const angles = Array.from(
    { length: capacity * half },
    (_, i) => Math.floor(i / half) * 1000 ** (-(i % half) / half),
  );
  // A quarter of the scales clips the largest values.
  const scales = () =>
    floats(kvHeads * headDim).map((v) => (Math.abs(v) + 0.75 * magnitude + 1e-3) / 127);
  return {
    ...shape,
    query: floats(rows * heads * headDim),
    key: floats(rows * kvHeads * headDim),
    value: floats(rows * kvHeads * headDim),
    keys: cache(),
    values: cache(),
    cos: Float32Array.from(angles, Math.cos),
    sin: Float32Array.from(angles, Math.sin),
    keyScales: scales(),
    valueScales: scales(),
  };
}

/** Returns some of the sequences, and of each the new tokens `from` to `to`, which are not in the cache. */
export function partOf(
  a: Attention,
  sequences: readonly number[],
  [from, to] = [0, a.tokens],
): Attention {
  const rowsOf = (data: Float32Array<ArrayBuffer>, heads: number) =>
    joined(sequences, (b) => {
      const width = heads * a.headDim;
      return data.subarray((b * a.tokens + from) * width, (b * a.tokens + to) * width);
    });
  const slots = <T extends Cache>(data: T) => {
    const width = a.kvHeads * a.capacity * a.headDim;
    return joined(sequences, (b) => data.subarray(b * width, (b + 1) * width) as T);
  };
  return {
    ...a,
    pasts: sequences.map((b) => a.pasts[b]! + from),
    tokens: to - from,
    query: rowsOf(a.query, a.heads),
    key: rowsOf(a.key, a.kvHeads),
    value: rowsOf(a.value, a.kvHeads),
    keys: slots(a.keys),
    values: slots(a.values),
  };
}

function joined<T extends Cache>(sequences: readonly number[], part: (b: number) => T): T {
  const parts = sequences.map(part);
  const length = parts.reduce((sum, { length }) => sum + length, 0);
  const all = parts[0] instanceof Int8Array ? new Int8Array(length) : new Float32Array(length);
  let at = 0;
  for (const data of parts) {
    all.set(data, at);
    at += data.length;
  }
  return all as T;
}

const float = (shape: readonly number[], data: Float32Array<ArrayBuffer>) =>
  hostTensor('float32', shape, data.slice());

/** A copy of a cache as a tensor, which the run changes. */
function cacheTensor(a: Attention, cache: Cache): OrtTensor<'int8'> | OrtTensor<'float32'> {
  const shape = [a.pasts.length, a.kvHeads, a.capacity, a.headDim];
  return cache instanceof Int8Array
    ? hostTensor('int8', shape, cache.slice())
    : float(shape, cache);
}

function queryKeyValue(a: Attention) {
  const { heads, kvHeads, headDim } = a;
  const rows = a.pasts.length * a.tokens;
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];
  if (!a.isPacked) {
    const query = float([rows, wide], a.query);
    return { query, key: float([rows, narrow], a.key), value: float([rows, narrow], a.value) };
  }
  const packed = hostTensor('float32', [rows, wide + 2 * narrow]);
  for (let t = 0; t < rows; t++) {
    const parts = [
      a.query.subarray(t * wide, (t + 1) * wide),
      a.key.subarray(t * narrow, (t + 1) * narrow),
      a.value.subarray(t * narrow, (t + 1) * narrow),
    ];
    let at = t * (wide + 2 * narrow);
    for (const part of parts) {
      packed.data.set(part, at);
      at += part.length;
    }
  }
  return { query: packed, key: undefined, value: undefined };
}

/** The operator's name and its inputs. */
export function ownInputs(a: Attention) {
  const { kvHeads, headDim, rotary, capacity, isInt8 } = a;
  const table = [capacity, rotary / 2];
  const steps = [1, kvHeads, 1, headDim];
  const totals = a.pasts.map((past) => past + a.tokens - 1);
  return {
    opType: isInt8 ? 'CachedAttentionInt8' : 'CachedAttention',
    inputs: {
      ...queryKeyValue(a),
      past_key: cacheTensor(a, a.keys),
      past_value: cacheTensor(a, a.values),
      seqlens: hostTensor('int32', [totals.length], Int32Array.from(totals)),
      cos: rotary ? float(table, a.cos) : undefined,
      sin: rotary ? float(table, a.sin) : undefined,
      ...(isInt8 && {
        k_scale: float(steps, a.keyScales),
        v_scale: float(steps, a.valueScales),
      }),
    } satisfies Record<string, OrtTensor | undefined>,
  };
}

export function ownAttributes({ heads, kvHeads, window, scale, softcap }: Attention) {
  const floats = { scale: { float: scale }, softcap: { float: softcap } };
  return { num_heads: heads, kv_num_heads: kvHeads, window, ...floats };
}

/** Runs our operator. */
export function ownAttention(a: Attention, threads?: number): Attended {
  const { opType, inputs } = ownInputs(a);
  const y = hostTensor('float32', [a.pasts.length * a.tokens, a.heads * a.headDim]);
  const { past_key, past_value } = inputs;
  const outputs = { y, present_key: past_key, present_value: past_value };
  runNode({ opType, attributes: ownAttributes(a), inputs, outputs, threads });
  return { y: y.data, keys: past_key.data, values: past_value.data };
}

/** Runs the runtime's operator for each sequence, because it takes several tokens of one sequence only. */
export function runtimeAttention(a: Attention): Attended {
  const results = a.pasts.map((_, b) => runtimeSequence(partOf(a, [b])));
  const all = Array.from(results.keys());
  return {
    y: joined(all, (b) => results[b]!.y),
    keys: joined(all, (b) => results[b]!.keys),
    values: joined(all, (b) => results[b]!.values),
  };
}

function runtimeSequence(a: Attention): Attended {
  const { k_scale, v_scale, cos, sin, seqlens, ...rest } = ownInputs(a).inputs;
  const batched = (tensor: OrtTensor<'float32'> | undefined) => tensor?.view([1, ...tensor.shape]);
  const inputs = {
    query: batched(rest.query),
    key: batched(rest.key),
    value: batched(rest.value),
    past_key: rest.past_key,
    past_value: rest.past_value,
    seqlens,
    total: hostTensor('int32', [], Int32Array.of(a.pasts[0]! + a.tokens)),
    cos,
    sin,
    ...(a.isInt8 && { position: undefined, bias: undefined, sink: undefined, k_scale, v_scale }),
  };
  const { window, softcap, ...attributes } = ownAttributes(a);
  const y = hostTensor('float32', [1, a.tokens, a.heads * a.headDim]);
  runNode({
    opType: 'GroupQueryAttention',
    domain: MICROSOFT,
    attributes: {
      ...attributes,
      do_rotary: a.rotary ? 1 : 0,
      ...(softcap.float && { softcap }),
      ...(window && { local_window_size: window }),
      ...(a.isInt8 && { k_quant_type: 'PER_CHANNEL', v_quant_type: 'PER_CHANNEL' }),
      ...(a.isInt8 && { kv_cache_bit_width: 8 }),
    },
    inputs,
    outputs: { y, present_key: rest.past_key, present_value: rest.past_value },
  });
  return { y: y.data, keys: rest.past_key.data, values: rest.past_value.data };
}
