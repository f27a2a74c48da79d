// A session with its one binding: before each run every input and output is found by name and bound anew, which costs
// microseconds and lets one session serve all layers and shapes.
import { assert } from '../../src/common/assert.ts';
import type { Dims } from '../../src/onnx/graph-builder.ts';
import type { Binding } from '../../src/ort/binding.ts';
import { createSession, type Session } from '../../src/ort/session.ts';
import type { OrtTensor } from '../../src/ort/tensor.ts';

/** The tensor for an input or output of a graph; `dims` as the graph declares them. */
export type TensorByName = (name: string, dims: Dims) => OrtTensor | undefined;

/** Options of all sessions of a trainer. */
export interface SessionSettings {
  /** Threads inside one operator; undefined: one per core. */
  readonly threads: number | undefined;
}

export class GraphRun {
  readonly #session: Session;
  readonly #binding: Binding;

  /** For `createGraphRun`. */
  constructor(session: Session) {
    this.#session = session;
    this.#binding = session.createBinding();
  }

  /** Asserts that each input and output of the graph has a tensor. */
  async run(input: TensorByName, output: TensorByName): Promise<void> {
    for (const { name, shape } of this.#session.inputs) {
      this.#binding.bindInput(name, found(input(name, shape), name));
    }
    for (const { name, shape } of this.#session.outputs) {
      this.#binding.bindOutput(name, found(output(name, shape), name));
    }
    await this.#binding.run();
  }

  release(): void {
    this.#binding.release();
    this.#session.release();
  }
}

export async function createGraphRun(
  graph: Uint8Array,
  { threads }: SessionSettings,
): Promise<GraphRun> {
  const session = await createSession(graph, {
    ...(threads === undefined ? {} : { intraOpThreads: threads }),
    allowSpinning: false,
    sharesArena: true,
    // Masked attention weights underflow on their way to 0: Softmax takes a third of the time without denormals.
    config: { 'session.set_denormal_as_zero': '1' },
  });
  return new GraphRun(session);
}

function found(tensor: OrtTensor | undefined, name: string): OrtTensor {
  assert(tensor, `no tensor for ${name}`);
  return tensor;
}
