// Graphs that copy data on a device, and the sessions that run them. Not specific to transformers. A tensor of slots is seen as
// [slots, n]; `i` counts tensors. An output that is written in place is bound to its input's memory, so the operator writes
// only the one slot.
import { GraphBuilder } from '../../onnx/graph-builder.ts';
import type { Binding } from '../../ort/binding.ts';
import { deviceTensor } from '../../ort/providers.ts';
import { createSessionSync, type Session } from '../../ort/session.ts';
import type { OrtTensor, OrtType } from '../../ort/tensor.ts';
import type { FloatType, Provider } from '../../settings/provider.ts';

/** The session of a copy graph, and a binding for one use at a time. Clear the binding after binding large tensors. */
interface CopyGraph {
  readonly session: Session;
  readonly binding: Binding;
}

/** Copies to one device, with sessions that are created on first use. Everything runs on the calling thread. */
export class CopyGraphs {
  readonly provider: Provider;
  readonly float: FloatType;
  readonly #graphs = new Map<string, CopyGraph>();

  constructor(provider: Provider, float: FloatType) {
    this.provider = provider;
    this.float = float;
  }

  /** Returns the graph with this name. Calls `build` on first use. */
  get(name: string, build: () => Uint8Array): CopyGraph {
    let graph = this.#graphs.get(name);
    if (!graph) {
      // The device copies. Threads of the host would be one per core and graph.
      const session = createSessionSync(build(), { provider: this.provider, intraOpThreads: 1 });
      graph = { session, binding: session.createBinding() };
      this.#graphs.set(name, graph);
    }
    return graph;
  }

  /** Returns the graph that copies a flat tensor of this type to the device. */
  upload(type: OrtType): CopyGraph {
    return this.get(`upload ${type}`, () => uploadGraph(type, this.float));
  }

  /** Allocates a tensor on the device. Its content is undefined. */
  allocate(type: OrtType, shape: readonly number[]): OrtTensor {
    return deviceTensor(this.upload('uint8').session, type, shape); // every session has the allocator
  }
}

/** The names of inputs and outputs. */
export const COPY_GRAPH = {
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

/** `slot.0` [n] → `written.0` [n]. float32 becomes `float`; any other type is unchanged. */
function uploadGraph(type: OrtType, float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const from = g.input(COPY_GRAPH.slot(0), type, ['n']);
  const name = COPY_GRAPH.written(0);
  const isCast = type === 'float32' && float !== 'float32';
  const to = isCast
    ? g.cast(from, float, name)
    : g.nodeWithOutputs('Identity', [from], {}, { outputs: [name] })[0]!;
  g.output(to, isCast ? float : type, ['n']);
  return g.toBytes();
}

/** Fills `written.0` [slots, n] with zeros. */
export function zerosGraph(float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const shape = g.input(COPY_GRAPH.shape, 'int64', [2]);
  const outputs = [COPY_GRAPH.written(0)];
  const [zeros] = g.nodeWithOutputs('Expand', [g.float(0, float), shape], {}, { outputs });
  g.output(zeros!, float, ['slots', 'n']);
  return g.toBytes();
}

/** Gathers one slot of each `slots.i` into `slot.i`. */
export function readGraph(count: number, float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const slot = g.input(COPY_GRAPH.readSlot, 'int64', [1]);
  for (let i = 0; i < count; i++) {
    const slots = g.input(COPY_GRAPH.slots(i), float, ['slots', `n${i}`]);
    const options = { outputs: [COPY_GRAPH.slot(i)] };
    const [read] = g.nodeWithOutputs('Gather', [slots, slot], { axis: 0 }, options);
    g.output(read!, float, [1, `n${i}`]);
  }
  return g.toBytes();
}

/**
 * Scatters each `slot.i`, of type `given`, into one slot of `slots.i`. `sizes` are the n of the tensors. The scatter has an index per
 * element, because WebGPU's scatter of whole rows copies a row in one thread.
 */
export function writeGraph(
  sizes: readonly number[],
  { given, float }: { given: FloatType; float: FloatType },
): Uint8Array {
  const g = new GraphBuilder();
  const slot = g.input(COPY_GRAPH.writtenSlot, 'int32', [1, 1]);
  const expand = (size: number) => g.node('Expand', [slot, g.int64([1, size])]);
  const indices = new Map([...new Set(sizes)].map((size) => [size, expand(size)]));
  sizes.forEach((size, i) => {
    const slots = g.input(COPY_GRAPH.slots(i), float, ['slots', size]);
    const values = g.input(COPY_GRAPH.slot(i), given, [1, size]);
    const inputs = [slots, indices.get(size), given === float ? values : g.cast(values, float)];
    const options = { outputs: [COPY_GRAPH.written(i)] };
    const [written] = g.nodeWithOutputs('ScatterElements', inputs, { axis: 0 }, options);
    g.output(written!, float, ['slots', size]);
  });
  return g.toBytes();
}
