// One session per form of the serving graph: without adapters, or with those of a form. An int8 cache may have graphs for one and
// for several tokens, and embeddings have graphs without a head. Sessions share their weights, so each costs only its nodes (5 MB
// for a 135M model). Sessions are created on first use, off the event loop.
import { changedHeadGraph, type VocabularyLength } from '../model/changed-head.ts';
import type { KvForm } from '../model/kv-attention.ts';
import type { AdapterForm } from '../model/lora-graph.ts';
import { type HeadForm, servingGraph } from '../model/serving-graph.ts';
import type { TableChange } from '../model/vocabulary-changes.ts';
import {
  createSession,
  PrepackedWeights,
  type Session,
  type SessionOptions,
} from '../ort/session.ts';
import type { OrtTensor } from '../ort/tensor.ts';
import { chooseAttention } from './attention-scores.ts';
import { HOST_MEMORY } from './memory/host-memory.ts';
import type { ModelMemory } from './memory/model-memory.ts';
import type { ServingModel } from './serving-folder.ts';

/** Options of ONNX Runtime for all sessions. */
export type RuntimeOptions = Pick<SessionOptions, 'provider' | 'intraOpThreads'>;

/** The differences between the serving graphs of one model. */
export interface GraphLayout {
  /** Undefined: no row uses an adapter. */
  readonly adapters: AdapterForm | undefined;
  readonly kv: KvForm;
  readonly head: HeadForm;
}

/** The options that apply to all graphs of a model. */
interface SessionsOptions {
  readonly runtime?: RuntimeOptions;
  readonly memory?: ModelMemory;
  /** Whether graphs observe their linears. Default: no. */
  readonly observes?: boolean | undefined;
}

/** The sessions of one model. */
export class GraphSessions {
  readonly memory: ModelMemory;
  /** The weights by input name, if runs pass their graph's weights. Empty if the sessions hold them. */
  readonly weightInputs: ReadonlyMap<string, OrtTensor>;
  readonly #model: ServingModel;
  readonly #maxSeqLength: number;
  readonly #runtime: RuntimeOptions;
  readonly #prepacked = new PrepackedWeights();
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #observes: boolean | undefined;

  constructor(
    model: ServingModel,
    maxSeqLength: number,
    { runtime = {}, memory = HOST_MEMORY, observes }: SessionsOptions = {},
  ) {
    this.#model = model;
    this.#maxSeqLength = maxSeqLength;
    this.#runtime = runtime;
    this.memory = memory;
    this.#observes = observes;
    chooseAttention(model.config, maxSeqLength);
    const weights = memory.weightsAs === 'inputs' ? [...model.tensors] : [];
    this.weightInputs = new Map(weights.map(([name, tensor]) => [name, memory.upload(tensor)]));
  }

  /** Whether our own operators compute every run. */
  get usesOwnOperators(): boolean {
    return this.#model.rowForm?.packing === 'packed';
  }

  /** Rejects with `OrtError`, for example if memory is short. */
  get(layout: GraphLayout): Promise<Session> {
    return this.#known(layoutId(layout), async () => {
      const { float, weightsAs } = this.memory;
      const shared = { maxSeqLength: this.#maxSeqLength, observes: this.#observes };
      const graph = servingGraph({ ...this.#model, ...layout, ...shared, float, weightsAs });
      const { usesOwnOperators } = this;
      const options = { ...this.#runtime, sharesThreads: true, usesOwnOperators };
      const session = await createSession(graph, { ...options, ...this.#heldWeights() });
      // Runs read the prepacked copies. Other weights are read from the file again when a step needs them.
      this.#model.file.dropPages();
      return session;
    });
  }

  /** The session that recomputes logits for adapters with such changes of the head. It runs on the host. */
  changedHead(kinds: readonly TableChange['kind'][], length: VocabularyLength): Promise<Session> {
    return this.#known(`head ${length} ${kinds}`, () => {
      const graph = changedHeadGraph(this.#model.config, kinds, length);
      return createSession(graph, { ...this.#runtime, provider: 'cpu', sharesThreads: true });
    });
  }

  #known(id: string, create: () => Promise<Session>): Promise<Session> {
    const session = this.#sessions.get(id) ?? create();
    this.#sessions.set(id, session);
    session.catch(() => this.#sessions.delete(id)); // the next call tries again
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

/** Identifies a layout. Equal ids have the same graph. */
export function layoutId({ adapters, kv, head }: GraphLayout): string {
  return `${adapters?.linears}:${adapters?.parts} ${kv} ${head}`;
}
