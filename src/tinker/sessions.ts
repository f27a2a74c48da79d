// The sessions of Tinker's protocol: who is connected, with which models in training and which samplers. A session ends when its
// client finishes it or is no longer heard.
import { fieldError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { adapterOfRun } from '../contracts/tinker-path.ts';
import { createIds } from '../jobs/names.ts';
import { type Metadata, type SamplerFacts, type SessionFacts, SessionJournal } from './journal.ts';
import { LossCurve } from './loss-curve.ts';
import { OrderedWork } from './ordered-work.ts';

/** A model in training. */
export interface TrainedModel {
  readonly id: string;
  /** Its number within the session. */
  readonly number: number;
  readonly work: OrderedWork;
  /** Whether its run exists. */
  isCreated: boolean;
  /** The trainer process that has it. If that process is gone, the next request rebuilds the model. */
  holder?: object | undefined;
  /** The last request that is done. */
  done: number;
  /** The trainer's time since the last state in the journal. */
  computedMs: number;
  /** Versions that only its samplers use, the oldest first. */
  readonly aside: number[];
  /** Undefined in a new server until the model is rebuilt. */
  curve: LossCurve | undefined;
  /** The time of its last request, in Unix milliseconds. */
  usedMs: number;
}

/** A client's source of samples. */
export interface SamplingSession extends SamplerFacts {
  readonly id: string;
}

/** A session. */
export interface TinkerSession {
  readonly id: string;
  readonly tenant: string;
  readonly metadata: Metadata;
  readonly journal: SessionJournal;
  readonly models: Map<string, TrainedModel>;
  readonly samplers: Map<string, SamplingSession>;
  /** Unix milliseconds. */
  heardMs: number;
  hasEnded: boolean;
}

/** The client sends a heartbeat every 10 s, and warns after two minutes without an answer. */
const SILENCE_MS = 10 * 60_000;
const LEFT_MS = 86_400_000;
/** A client has one session. */
const MAX_SESSIONS = 100;
const MAX_SAMPLERS = 10_000;

/** Settings of `Sessions`. */
interface SessionsOptions {
  /** Returns Unix milliseconds. */
  readonly now: () => number;
  /** The base's digest. */
  readonly base: string;
  /** The folder of the journals. */
  readonly root: string;
  readonly log: Pick<Logger, 'warn'>;
  /** Called when a session has ended. */
  readonly onEnd: (session: TinkerSession) => void;
}

/** The sessions of all tenants. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, TinkerSession>();
  readonly #createId: (prefix: string) => string;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#createId = createIds(options.now);
  }

  /** Begins a session. Throws `ServeError` (429) if the tenant has too many. */
  async begin(tenant: string, metadata: Metadata): Promise<TinkerSession> {
    this.endSilent();
    if (this.of(tenant).length >= MAX_SESSIONS) {
      const message = `You have ${MAX_SESSIONS} sessions. End some: they end 10 minutes after their clients.`;
      throw new ServeError('rate_limit_exceeded', message);
    }
    const { base, root } = this.#options;
    const facts = { id: this.#createId('tinker'), tenant, base, metadata };
    return this.#add(facts, await SessionJournal.create(root, facts));
  }

  /** Continues the sessions of this base that an earlier server has left. All others stay for a day: their base may come back. */
  async reopen(): Promise<TinkerSession[]> {
    const { root, now, log } = this.#options;
    const sessions: TinkerSession[] = [];
    for (const journal of await SessionJournal.findAll(root)) {
      const session = await this.#reopen(journal).catch((error) => {
        log.warn({ err: error }, 'a session of a training loop is damaged and has ended');
      });
      if (session) sessions.push(session);
      else if (now() - (await journal.changedMs()) > LEFT_MS) await journal.remove();
    }
    return sessions;
  }

  async #reopen(journal: SessionJournal): Promise<TinkerSession | undefined> {
    const facts = await journal.open();
    if (facts.base !== this.#options.base) return undefined;
    const samplers = await journal.samplers();
    const session = this.#add(facts, journal);
    for (const [number, sampler] of samplers) {
      this.#keepSampler(session, { ...sampler, id: samplerId(session, number) });
    }
    return session;
  }

  #add({ id, tenant, metadata }: SessionFacts, journal: SessionJournal): TinkerSession {
    const [models, samplers] = [new Map(), new Map()];
    const heardMs = this.#options.now();
    const session = { id, tenant, metadata, journal, models, samplers, heardMs, hasEnded: false };
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
    if (session?.tenant !== tenant) throw sessionEnded();
    session.heardMs = this.#options.now();
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
  async addSampler(
    session: TinkerSession,
    number: number,
    source: Omit<SamplerFacts, 'clones'>,
  ): Promise<SamplingSession> {
    const id = samplerId(session, number);
    const known = session.samplers.get(id);
    if (known) return known;
    await session.journal.writeSampler(number, { ...source, clones: 0 });
    return this.#keepSampler(session, { ...source, id, clones: 0 });
  }

  /** Numbers a copy of a sampler, from 1. Throws as `model`. */
  async joinSampler(tenant: string, id: string): Promise<number> {
    const { id: _, ...facts } = this.sampler(tenant, id);
    const session = this.find(tenant, sessionOf(id));
    const joined = { ...facts, clones: facts.clones + 1 };
    session.samplers.set(id, { ...joined, id });
    await session.journal.writeSampler(Number(id.slice(id.lastIndexOf(':') + 1)), joined);
    return joined.clones;
  }

  #keepSampler(session: TinkerSession, sampler: SamplingSession): SamplingSession {
    const [oldest] = session.samplers.keys();
    if (session.samplers.size >= MAX_SAMPLERS) session.samplers.delete(oldest!);
    session.samplers.set(sampler.id, sampler);
    return sampler;
  }

  /** Adds a model in training, unless the client repeats its request. Throws `ServeError` (429) if the tenant has too many. */
  addModel(session: TinkerSession, number: number, maxModels: number): TrainedModel {
    const id = modelId(session, number);
    const known = session.models.get(id);
    if (known) return known;
    if (adapterOfRun(id) === undefined) throw fieldError('model_seq_id', 'is too large');
    const count = this.of(session.tenant).reduce((sum, { models }) => sum + models.size, 0);
    if (count >= maxModels) {
      const message = `You have ${count} models in training, the limit of this server (LORIKEET_MAX_JOBS). End a session first.`;
      throw new ServeError('rate_limit_exceeded', message);
    }
    return this.reopenModel(session, number, -1);
  }

  /** Adds a model whose requests are done up to a number. */
  reopenModel(session: TinkerSession, number: number, done: number): TrainedModel {
    const id = modelId(session, number);
    const work = new OrderedWork(done + 1);
    const progress = { isCreated: false, done, computedMs: 0, usedMs: this.#options.now() };
    const curve = done < 0 ? new LossCurve() : undefined;
    const model: TrainedModel = { id, number, work, ...progress, aside: [], curve };
    session.models.set(id, model);
    return model;
  }

  /** Ends a session. */
  end(tenant: string, id: string): void {
    const session = this.#sessions.get(id);
    if (session?.tenant !== tenant) return;
    this.#sessions.delete(id);
    session.hasEnded = true;
    this.#options.onEnd(session);
  }

  /** Ends the sessions whose clients have been silent too long. */
  endSilent(): void {
    const since = this.#options.now() - SILENCE_MS;
    for (const { tenant, id, heardMs } of this.#sessions.values()) {
      if (heardMs < since) this.end(tenant, id);
    }
  }
}

/** Returns the error for a request of a session that has ended. */
export function sessionEnded(): ServeError {
  const message = 'The session has ended. Continue from a saved path.';
  return new ServeError('expired', message, { param: 'session_id' });
}

function samplerId({ id }: TinkerSession, number: number): string {
  return `${id}:sample:${number}`;
}

function modelId({ id }: TinkerSession, number: number): string {
  return `${id}:train:${number}`;
}

function sessionOf(id: string): string {
  return id.slice(0, id.indexOf(':'));
}
