// Runs a graph on tensors found by name. Inputs and outputs are bound before each run. This takes microseconds, and lets one
// session serve all layers and shapes.
import { assert } from '../../src/common/assert.ts';
import type { Dims } from '../../src/onnx/graph-builder.ts';
import type { Binding } from '../../src/ort/binding.ts';
import { createSession, type Session } from '../../src/ort/session.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';

/** Returns the tensor for an input or output of a graph. `dims` are the dimensions that the graph declares. */
export type TensorByName = (name: string, dims: Dims) => OrtTensor | undefined;

/** Options of all sessions. */
export interface SessionSettings {
  /** Threads of one operator; undefined: one per core. */
  readonly threads: number | undefined;
}

/** A session and its binding. */
export class GraphRun {
  readonly #session: Session;
  readonly #binding: Binding;

  /** Use `createGraphRun`. */
  constructor(session: Session) {
    this.#session = session;
    this.#binding = session.createBinding();
  }

  /** Runs the graph. Asserts that every input and output has a tensor. */
  async run(input: TensorByName, output: TensorByName): Promise<void> {
    for (const { name, shape } of this.#session.inputs) {
      this.#binding.bindInput(name, tensorOf(input(name, shape), name));
    }
    for (const { name, shape } of this.#session.outputs) {
      this.#binding.bindOutput(name, tensorOf(output(name, shape), name));
    }
    await this.#binding.run();
  }

  release(): void {
    this.#binding.release();
    this.#session.release();
  }
}

/** Creates a graph's session. */
export async function createGraphRun(
  graph: Uint8Array,
  { threads }: SessionSettings,
): Promise<GraphRun> {
  const session = await createSession(graph, {
    ...(threads === undefined ? {} : { intraOpThreads: threads }),
    allowSpinning: false,
    sharesArena: true,
    // Masked attention weights become denormal before they reach 0. With denormals flushed to zero, Softmax takes a third of
    // the time.
    config: { 'session.set_denormal_as_zero': '1' },
  });
  return new GraphRun(session);
}

function tensorOf(tensor: OrtTensor | undefined, name: string): OrtTensor {
  assert(tensor, `no tensor for ${name}`);
  return tensor;
}
