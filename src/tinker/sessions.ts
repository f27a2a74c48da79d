// The sessions of Tinker's protocol: who is connected, with which models in training and which samplers. A session ends when its
// client finishes it or is no longer heard.
import { ServeError } from '../common/errors.ts';
import { adapterOfRun } from '../contracts/tinker-path.ts';
import { createIds } from '../jobs/names.ts';
import { LossCurve } from './loss-curve.ts';
import { OrderedWork } from './ordered-work.ts';
import type { RunRecord } from './runs.ts';

/** A model in training. */
export interface TrainedModel {
  readonly id: string;
  readonly work: OrderedWork;
  /** Set once it can be trained. */
  run?: RunRecord;
  /** The trainer process that has it. If that process is gone, so is the model. */
  holder?: object | undefined;
  /** Versions that only its samplers use, the oldest first. */
  readonly aside: number[];
  readonly curve: LossCurve;
  /** The time of its last request, in Unix milliseconds. */
  usedMs: number;
}

/** A client's source of samples. */
export interface SamplingSession {
  readonly id: string;
  /** The name of the model that answers. */
  readonly model: string;
  /** The base, by the name that the client used. */
  readonly baseModel: string;
  /** The checkpoint's path, if it has one. */
  readonly modelPath: string | undefined;
  clones: number;
}

/** A session. */
export interface TinkerSession {
  readonly id: string;
  readonly tenant: string;
  readonly metadata: Readonly<Record<string, unknown>> | null;
  readonly models: Map<string, TrainedModel>;
  readonly samplers: Map<string, SamplingSession>;
  /** Unix milliseconds. */
  heardMs: number;
}

/** The client sends a heartbeat every 10 s, and warns after two minutes without an answer. */
const SILENCE_MS = 10 * 60_000;
/** A client has one session. */
const MAX_SESSIONS = 100;
const MAX_SAMPLERS = 10_000;

/** The sessions of all tenants. */
export class Sessions {
  readonly #sessions = new Map<string, TinkerSession>();
  readonly #now: () => number;
  readonly #createId: (prefix: string) => string;
  readonly #onEnd: (session: TinkerSession) => void;

  /** @param now Unix milliseconds @param onEnd called when a session has ended */
  constructor(now: () => number, onEnd: (session: TinkerSession) => void) {
    this.#now = now;
    this.#createId = createIds(now);
    this.#onEnd = onEnd;
  }

  /** Begins a session. Throws `ServeError` (429) if the tenant has too many. */
  begin(tenant: string, metadata: TinkerSession['metadata']): TinkerSession {
    this.endSilent();
    if (this.of(tenant).length >= MAX_SESSIONS) {
      const message = `You have ${MAX_SESSIONS} sessions. End some: they end 10 minutes after their clients.`;
      throw new ServeError('rate_limit_exceeded', message);
    }
    const id = this.#createId('tinker');
    const [models, samplers] = [new Map(), new Map()];
    const session = { id, tenant, metadata, models, samplers, heardMs: this.#now() };
    this.#sessions.set(id, session);
    return session;
  }

  /** Whether no session has a model in training. */
  get isEmpty(): boolean {
    return [...this.#sessions.values()].every(({ models }) => models.size === 0);
  }

  /** Lists a tenant's sessions, the newest first. */
  of(tenant: string): TinkerSession[] {
    return [...this.#sessions.values()].filter((one) => one.tenant === tenant).reverse();
  }

  /** Finds a session and notes that its client is alive. Throws `ServeError` (410) if it has ended. */
  find(tenant: string, id: string): TinkerSession {
    this.endSilent();
    const session = this.#sessions.get(id);
    if (session?.tenant !== tenant) {
      const message =
        'The session has ended, or the server was restarted. Continue from a saved path.';
      throw new ServeError('expired', message, { param: 'session_id' });
    }
    session.heardMs = this.#now();
    return session;
  }

  /** Finds a model for a request, by its id. Throws `ServeError` (410) if its session has ended, 404 if the session has no such model. */
  model(tenant: string, id: string): TrainedModel {
    const session = this.find(tenant, sessionOf(id));
    const model = session.models.get(id);
    if (model) {
      model.usedMs = session.heardMs;
      return model;
    }
    throw new ServeError('not_found', 'model_id: is unknown', { param: 'model_id' });
  }

  /** Finds a model without noting that its client is alive; undefined if its session has ended. */
  peekModel(tenant: string, id: string): TrainedModel | undefined {
    this.endSilent();
    const session = this.#sessions.get(sessionOf(id));
    return session?.tenant === tenant ? session.models.get(id) : undefined;
  }

  /** Finds a sampler by its id. Throws as `model`. */
  sampler(tenant: string, id: string): SamplingSession {
    const sampler = this.find(tenant, sessionOf(id)).samplers.get(id);
    if (sampler) return sampler;
    const param = 'sampling_session_id';
    throw new ServeError('not_found', `${param}: is unknown`, { param });
  }

  /** Adds a sampler, unless the client repeats its request. */
  addSampler(
    session: TinkerSession,
    number: number,
    source: Omit<SamplingSession, 'id' | 'clones'>,
  ): SamplingSession {
    const id = `${session.id}:sample:${number}`;
    const known = session.samplers.get(id);
    if (known) return known;
    const [oldest] = session.samplers.keys();
    if (session.samplers.size >= MAX_SAMPLERS) session.samplers.delete(oldest!);
    const sampler = { ...source, id, clones: 0 };
    session.samplers.set(id, sampler);
    return sampler;
  }

  /** Adds a model in training, unless the client repeats its request. */
  addModel(session: TinkerSession, number: number, maxModels: number): TrainedModel {
    const id = `${session.id}:train:${number}`;
    const known = session.models.get(id);
    if (known) return known;
    if (adapterOfRun(id) === undefined) {
      const param = 'model_seq_id';
      throw new ServeError('invalid_request', `${param}: is too large`, { param });
    }
    const count = this.of(session.tenant).reduce((sum, { models }) => sum + models.size, 0);
    if (count >= maxModels) {
      const message = `You have ${count} models in training, the limit of this server (LORIKEET_MAX_JOBS). End a session first.`;
      throw new ServeError('rate_limit_exceeded', message);
    }
    const [work, curve] = [new OrderedWork(), new LossCurve()];
    const model: TrainedModel = { id, work, aside: [], curve, usedMs: this.#now() };
    session.models.set(id, model);
    return model;
  }

  /** Ends a session. */
  end(tenant: string, id: string): void {
    const session = this.#sessions.get(id);
    if (session?.tenant !== tenant) return;
    this.#sessions.delete(id);
    this.#onEnd(session);
  }

  /** Ends the sessions whose clients have been silent too long. */
  endSilent(): void {
    const since = this.#now() - SILENCE_MS;
    for (const { tenant, id, heardMs } of this.#sessions.values()) {
      if (heardMs < since) this.end(tenant, id);
    }
  }
}

function sessionOf(id: string): string {
  return id.slice(0, id.indexOf(':'));
}
