// Graphs that copy on a device: a tensor to it, and whole slots of many tensors at once. They know no transformer.
// A tensor of slots is seen as [slots, n]; `i` counts tensors. What is written is an output bound to the input's own
// memory: the operator then writes the slot only.
import { GraphBuilder, type Value } from '../onnx/graph-builder.ts';
import type { OrtType } from '../ort/tensor.ts';
import type { FloatType } from '../settings/provider.ts';

/** Names of inputs and outputs. */
export const SLOT_GRAPH = {
  /** int64 [1] */
  readSlot: 'read_slot',
  /** int32 [1, 1] */
  writtenSlot: 'written_slot',
  /** float [slots, n] */
  slots: (i: number) => `slots.${i}`,
  written: (i: number) => `written.${i}`,
  /** float [1, n] */
  slot: (i: number) => `slot.${i}`,
  /** int64 [2] = [slots, n] */
  shape: 'shape',
} as const;

/** ONNX TensorProto.DataType. */
export const CAST_TO = { float32: 1, float16: 10 } as const;

/** `slot.0` [n] → `written.0` [n], whole: float32 as `float`, anything else as it is. */
export function placeGraph(type: OrtType, float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const from = g.input(SLOT_GRAPH.slot(0), type, ['n']);
  const isCast = type === 'float32' && float !== 'float32';
  const outputs = [SLOT_GRAPH.written(0)];
  const [to] = isCast
    ? g.nodeWithOutputs('Cast', [from], { to: CAST_TO[float] }, { outputs })
    : g.nodeWithOutputs('Identity', [from], {}, { outputs });
  g.output(to!, isCast ? float : type, ['n']);
  return g.toBytes();
}

/** `written.0` [slots, n] = 0, whole. */
export function zerosGraph(float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const shape = g.input(SLOT_GRAPH.shape, 'int64', [2]);
  const outputs = [SLOT_GRAPH.written(0)];
  const [zeros] = g.nodeWithOutputs('Expand', [zero(g, float), shape], {}, { outputs });
  g.output(zeros!, float, ['slots', 'n']);
  return g.toBytes();
}

/** `slot.i` = the slot of `slots.i`. */
export function readGraph(count: number, float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const slot = g.input(SLOT_GRAPH.readSlot, 'int64', [1]);
  for (let i = 0; i < count; i++) {
    const slots = g.input(SLOT_GRAPH.slots(i), float, ['slots', `n${i}`]);
    const options = { outputs: [SLOT_GRAPH.slot(i)] };
    const [read] = g.nodeWithOutputs('Gather', [slots, slot], { axis: 0 }, options);
    g.output(read!, float, [1, `n${i}`]);
  }
  return g.toBytes();
}

/**
 * `written.i` = `slots.i` with `slot.i` in the slot. `sizes` are n by tensor; the values given are of the type `given`.
 */
export function writeGraph(
  sizes: readonly number[],
  types: { given: FloatType; float: FloatType },
): Uint8Array {
  return scatterGraph(sizes, types.float, (g, i) => {
    const given = g.input(SLOT_GRAPH.slot(i), types.given, [1, sizes[i]!]);
    return types.given === types.float
      ? given
      : g.node('Cast', [given], { to: CAST_TO[types.float] });
  });
}

/** The same with zeros in the slot. */
export function clearGraph(sizes: readonly number[], float: FloatType): Uint8Array {
  return scatterGraph(sizes, float, (g, i) =>
    g.node('Expand', [zero(g, float), g.int64([1, sizes[i]!])]),
  );
}

/** A scatter with an index for each element, since WebGPU's by whole rows copies a row in one thread. */
function scatterGraph(
  sizes: readonly number[],
  float: FloatType,
  values: (g: GraphBuilder, i: number) => Value,
): Uint8Array {
  const g = new GraphBuilder();
  const slot = g.input(SLOT_GRAPH.writtenSlot, 'int32', [1, 1]);
  const expand = (size: number) => g.node('Expand', [slot, g.int64([1, size])]);
  const indices = new Map([...new Set(sizes)].map((size) => [size, expand(size)]));
  sizes.forEach((size, i) => {
    const slots = g.input(SLOT_GRAPH.slots(i), float, ['slots', size]);
    const inputs = [slots, indices.get(size), values(g, i)];
    const options = { outputs: [SLOT_GRAPH.written(i)] };
    const [written] = g.nodeWithOutputs('ScatterElements', inputs, { axis: 0 }, options);
    g.output(written!, float, ['slots', size]);
  });
  return g.toBytes();
}

function zero(g: GraphBuilder, float: FloatType): Value {
  const wide = g.float(0);
  return float === 'float32' ? wide : g.node('Cast', [wide], { to: CAST_TO[float] });
}
