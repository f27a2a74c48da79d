// One session per form of the serving graph: without adapters, with one, with groups; weights are shared, so a
// further session costs its nodes only (5 MB of a 135M model). Made when first needed, off the event loop.
import type { LoraLayout } from '../model/lora-graph.ts';
import { servingGraph } from '../model/serving-graph.ts';
import {
  createSession,
  PrepackedWeights,
  type Session,
  type SessionOptions,
} from '../ort/session.ts';
import type { OrtTensor } from '../ort/tensor.ts';
import { HOST_MEMORY } from './host-memory.ts';
import type { ModelMemory } from './model-memory.ts';
import type { ServingModel } from './serving-folder.ts';

export type RuntimeOptions = Pick<SessionOptions, 'provider' | 'intraOpThreads' | 'allowSpinning'>;

export class GraphSessions {
  readonly memory: ModelMemory;
  /** What every run is to be given, by name: the weights where sessions do not hold them. */
  readonly weightInputs: ReadonlyMap<string, OrtTensor>;
  readonly #model: ServingModel;
  readonly #maxSeqLength: number;
  readonly #runtime: RuntimeOptions;
  readonly #prepacked = new PrepackedWeights();
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(
    model: ServingModel,
    maxSeqLength: number,
    { runtime = {}, memory = HOST_MEMORY }: { runtime?: RuntimeOptions; memory?: ModelMemory } = {},
  ) {
    this.#model = model;
    this.#maxSeqLength = maxSeqLength;
    this.#runtime = runtime;
    this.memory = memory;
    const given = memory.weightsAs === 'inputs' ? [...model.tensors] : [];
    this.weightInputs = new Map(given.map(([name, tensor]) => [name, memory.place(tensor)]));
  }

  /** Rejects with `OrtError`, as where memory is short. */
  get(lora: LoraLayout): Promise<Session> {
    const id = layoutId(lora);
    let session = this.#sessions.get(id);
    if (!session) {
      const maxSeqLength = this.#maxSeqLength;
      const { float, weightsAs } = this.memory;
      const graph = servingGraph({ ...this.#model, maxSeqLength, lora, float, weightsAs });
      session = createSession(graph, { ...this.#runtime, ...this.#heldWeights() });
      this.#sessions.set(id, session);
      // What was prepacked is read from there; the rest is read again when a step needs it.
      void session.then(() => this.#model.file.letGo()).catch(() => {});
      session.catch(() => this.#sessions.delete(id)); // the next to ask tries again
    }
    return session;
  }

  #heldWeights(): SessionOptions {
    if (this.memory.weightsAs === 'inputs') return {};
    const { tensors: initializers, folder: externalFolder } = this.#model;
    return { initializers, externalFolder, prepacked: this.#prepacked };
  }

  async release(): Promise<void> {
    const sessions = await Promise.all(this.#sessions.values());
    for (const session of sessions) session.release();
    this.#prepacked.release();
  }
}

/** Equal for layouts that have the same graph. */
export function layoutId(lora: LoraLayout): string {
  return lora.kind === 'none' ? 'none' : `${lora.kind}:${lora.targets.join(',')}`;
}
