// Linears in per-token form: random ones, our operator for them, and its plain twins in float64.
import { ownInstructions } from '../../src/ort/own-operators.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { quantizeRowInt8 } from '../../src/quant/row-int8.ts';
import { seededRandom } from '../fixtures.ts';
import { expandRecords } from '../quant/plain-records.ts';
import { runNode } from './one-node.ts';

/** Why tests of our own operators are skipped here, or false. */
export const skip =
  ownInstructions() === undefined && 'our own operators do not run on this machine';

/** The activations by their number in the operator. */
export const ACTIVATIONS = [
  undefined,
  (x: number) => x / (1 + Math.exp(-x)),
  (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
] as const;

export interface LinearShape {
  readonly tokens: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly floats: number;
  readonly hasBias: boolean;
}

type Floats = Float32Array<ArrayBuffer>;

/** A linear [out, in] with smoothing, float inputs and a bias. */
export interface Linear extends LinearShape {
  readonly x: Floats;
  readonly weights: Floats;
  readonly factors: Floats;
  readonly floatInputs: readonly number[];
  readonly floatValues: Floats;
  readonly bias: Floats;
  /** The index of one of `ACTIVATIONS`. With one, a row of x is twice as wide. */
  readonly activation?: number;
  readonly adapters?: Adapters;
  /** 4-bit weights [out / 16, in / 32, 320], in place of the weights and the treatment of inputs. */
  readonly records?: Uint8Array<ArrayBuffer>;
}

/** Adapters of a linear with N outputs in parts: S slots, R ranks, J = parts * R rank rows. Slot 0 is no adapter. */
export interface Adapters {
  readonly slots: number;
  readonly ranks: number;
  readonly partEnds: readonly number[];
  /** [T] */
  readonly rowSlots: readonly number[];
  /** [S, J, K] */
  readonly a: Int8Array<ArrayBuffer>;
  /** [S, J] */
  readonly scales: Floats;
  /** [S, N / 16, R, 16] */
  readonly b: Int8Array<ArrayBuffer>;
  /** [S, N] */
  readonly vectors?: { readonly scale: Floats; readonly bias: Floats };
}

export function randomLinear(shape: LinearShape, seed: number, activation = 0): Linear {
  const random = seededRandom(seed);
  const { tokens, inputs, outputs, floats } = shape;
  const values = (length: number) => Float32Array.from({ length }, random);
  const factors = values(inputs).map((v) => Math.abs(v) + 0.1);
  const floatInputs = Array.from({ length: floats }, (_, i) => (7 * i) % inputs);
  for (const i of floatInputs) factors[i] = 0;
  return {
    ...shape,
    activation,
    factors,
    floatInputs,
    x: values(tokens * inputs * (activation ? 2 : 1)),
    weights: values(outputs * inputs),
    floatValues: values(floats * outputs),
    bias: values(outputs),
  };
}

/** Random adapters of a linear. Slot 0 holds NaNs, which nobody may read. */
export function randomAdapters(
  { inputs, tokens }: LinearShape,
  size: Pick<Adapters, 'slots' | 'ranks' | 'partEnds'> & { readonly hasVectors: boolean },
  seed: number,
): Adapters {
  const { slots, ranks, partEnds, hasVectors } = size;
  const random = seededRandom(seed);
  const outputs = partEnds.at(-1)!;
  const rankRows = partEnds.length * ranks;
  const codes = (length: number) => Int8Array.from({ length }, () => Math.round(127 * random()));
  const vectors = (width: number) => {
    const values = Float32Array.from({ length: slots * width }, random);
    return values.fill(Number.NaN, 0, width);
  };
  return {
    slots,
    ranks,
    partEnds,
    rowSlots: Array.from({ length: tokens }, () => Math.floor((slots * (random() + 1)) / 2)),
    a: codes(slots * rankRows * inputs),
    // A third of the rank rows is padding. Others bring their products to the size of the linear's.
    scales: vectors(rankRows).map((v) => (Math.abs(v) < 0.33 ? 0 : v / 127 ** 2)),
    b: codes(slots * outputs * ranks),
    ...(hasVectors && { vectors: { scale: vectors(outputs), bias: vectors(outputs) } }),
  };
}

/** The inputs [T, K] after the activation. */
function activated({ x, inputs, tokens, activation = 0 }: Linear): Float64Array {
  const act = ACTIVATIONS[activation];
  if (!act) return Float64Array.from(x);
  return Float64Array.from({ length: tokens * inputs }, (_, at) => {
    const gate = at + Math.floor(at / inputs) * inputs;
    return act(x[gate]!) * x[gate + inputs]!;
  });
}

/** The plain twin of a linear without adapters: rounded values, multiplied in float64. */
export function plainLinear(linear: Linear): number[] {
  const { tokens, inputs, outputs, groups, factors, floatInputs, floatValues } = linear;
  const x = activated(linear);
  const { records } = linear;
  const width = records ? 32 : inputs / groups;
  const weights = records ? expandRecords(records, inputs) : rowInt8Values(linear);
  const y: number[] = [];
  for (let t = 0; t < tokens; t++) {
    const row = Array.from({ length: inputs }, (_, i) =>
      Math.fround(x[t * inputs + i]! * (records ? 1 : factors[i]!)),
    );
    const rounded = row.map((value, i) => {
      const first = i - (i % width);
      const largest = row
        .slice(first, first + width)
        .reduce((max, v) => Math.max(max, Math.abs(v)), 0);
      return largest === 0 ? 0 : Math.round((value * 127) / largest) * (largest / 127);
    });
    for (let o = 0; o < outputs; o++) {
      let sum = linear.hasBias ? linear.bias[o]! : 0;
      for (let i = 0; i < inputs; i++) sum += rounded[i]! * weights[o * inputs + i]!;
      for (const [f, i] of records ? [] : floatInputs.entries())
        sum += x[t * inputs + i]! * floatValues[f * outputs + o]!;
      y.push(sum);
    }
  }
  return y;
}

/** The values [out, in] of weights in 8 bits. */
function rowInt8Values({ weights, inputs, outputs }: Linear): Float64Array {
  const { data, scales } = quantizeRowInt8([weights], inputs);
  return Float64Array.from({ length: outputs * inputs }, (_, at) => {
    const [o, i] = [Math.floor(at / inputs), at % inputs];
    return (data[i * outputs + o]! - 128) * scales[o]!;
  });
}

/** The plain twin of the adapters: changes the outputs [T, N] of a linear without them. */
export function plainAdapted(linear: Linear, base: Float32Array): number[] {
  const { inputs, outputs } = linear;
  const { ranks, partEnds, rowSlots, a, scales, b, vectors } = linear.adapters!;
  const x = activated(linear);
  const rankRows = partEnds.length * ranks;
  return rowSlots.flatMap((slot, t) => {
    const row = base.subarray(t * outputs, (t + 1) * outputs);
    if (slot === 0) return Array.from(row);
    const narrow = Array.from({ length: rankRows }, (_, j) => {
      const at = slot * rankRows + j;
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += x[t * inputs + i]! * a[at * inputs + i]!;
      return scales[at] === 0 ? 0 : scales[at]! * sum;
    });
    return Array.from(row, (value, o) => {
      const at = slot * outputs + o;
      const part = partEnds.findIndex((end) => o < end);
      let y = vectors ? value + value * vectors.scale[at]! + vectors.bias[at]! : value;
      for (let r = 0; r < ranks; r++) {
        const code = b[((slot * outputs + (o - (o % 16))) / 16) * ranks * 16 + r * 16 + (o % 16)]!;
        y += narrow[part * ranks + r]! * code;
      }
      return y;
    });
  });
}

/** Returns the rows `from` to `to` of a linear's input. */
export function rowsOf(linear: Linear, from: number, to: number): Linear {
  const { adapters } = linear;
  const width = linear.x.length / linear.tokens;
  return {
    ...linear,
    tokens: to - from,
    x: linear.x.slice(from * width, to * width),
    ...(adapters && { adapters: { ...adapters, rowSlots: adapters.rowSlots.slice(from, to) } }),
  };
}

/** The operator's inputs, in its order. */
export function linearInputs(linear: Linear): Record<string, OrtTensor | undefined> {
  const { tokens, inputs, outputs, x, activation, adapters } = linear;
  return {
    x: hostTensor('float32', [tokens, inputs * (activation ? 2 : 1)], x),
    ...weightInputs(linear),
    bias: linear.hasBias ? hostTensor('float32', [outputs], linear.bias) : undefined,
    ...(adapters && adapterInputs(adapters, linear)),
  };
}

function weightInputs(linear: Linear): Record<string, OrtTensor | undefined> {
  const { inputs, outputs, floats, records } = linear;
  const none = { scales: undefined, factors: undefined, indices: undefined, values: undefined };
  if (records)
    return { weights: hostTensor('uint8', [outputs / 16, inputs / 32, 320], records), ...none };
  const { data, scales } = quantizeRowInt8([linear.weights], inputs, 'packed');
  const packed = Uint8Array.from(data);
  const float = (shape: readonly number[], values: Floats) => hostTensor('float32', shape, values);
  return {
    weights: hostTensor('uint8', [Math.ceil(outputs / 16), inputs / 4, 16, 4], packed),
    scales: float([outputs], Float32Array.from(scales)),
    factors: float([inputs], linear.factors),
    indices: floats ? ints(linear.floatInputs) : undefined,
    values: floats ? float([floats, outputs], linear.floatValues) : undefined,
  };
}

const ints = (values: readonly number[]) =>
  hostTensor('int64', [values.length], BigInt64Array.from(values, BigInt));

function adapterInputs(adapters: Adapters, { inputs, outputs }: Linear) {
  const { slots, ranks, partEnds, rowSlots, vectors } = adapters;
  const rankRows = partEnds.length * ranks;
  return {
    row_slots: ints(rowSlots),
    a: hostTensor('int8', [slots, rankRows, inputs], adapters.a),
    lora_scales: hostTensor('float32', [slots, rankRows], adapters.scales),
    b: hostTensor('int8', [slots, outputs / 16, ranks, 16], adapters.b),
    part_ends: ints(partEnds),
    out_scale: vectors && hostTensor('float32', [slots, outputs], vectors.scale),
    out_bias: vectors && hostTensor('float32', [slots, outputs], vectors.bias),
  };
}

/** Runs the operator. */
export function ownLinear(linear: Linear, threads?: number): Floats {
  const { tokens, outputs, activation = 0, records } = linear;
  const groups = records ? 1 : linear.groups;
  const y = hostTensor('float32', [tokens, outputs]);
  const attributes = { groups, activation, bits: records ? 4 : 8 };
  runNode({
    opType: 'RowLinear',
    attributes,
    inputs: linearInputs(linear),
    outputs: { y },
    threads,
  });
  return y.data;
}
