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
import type { ServingModel } from './serving-folder.ts';

export type RuntimeOptions = Pick<SessionOptions, 'provider' | 'intraOpThreads' | 'allowSpinning'>;

export class GraphSessions {
  readonly #model: ServingModel;
  readonly #maxSeqLength: number;
  readonly #runtime: RuntimeOptions;
  readonly #prepacked = new PrepackedWeights();
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(model: ServingModel, maxSeqLength: number, runtime: RuntimeOptions) {
    this.#model = model;
    this.#maxSeqLength = maxSeqLength;
    this.#runtime = runtime;
  }

  /** Rejects with `OrtError`, as where memory is short. */
  get(lora: LoraLayout): Promise<Session> {
    const id = layoutId(lora);
    let session = this.#sessions.get(id);
    if (!session) {
      const maxSeqLength = this.#maxSeqLength;
      session = createSession(servingGraph({ ...this.#model, maxSeqLength, lora }), {
        ...this.#runtime,
        initializers: this.#model.tensors,
        externalFolder: this.#model.folder,
        prepacked: this.#prepacked,
      });
      this.#sessions.set(id, session);
      // What was prepacked is read from there; the rest is read again when a step needs it.
      void session.then(() => this.#model.file.letGo()).catch(() => {});
      session.catch(() => this.#sessions.delete(id)); // the next to ask tries again
    }
    return session;
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
