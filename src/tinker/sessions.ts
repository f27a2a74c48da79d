// The sessions of Tinker's protocol: who is connected, with which models in training and which sampling sessions. A session ends
// when its client finishes it or is no longer heard.
import { fieldError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { adapterOfRun } from '../contracts/tinker-path.ts';
import { createIds } from '../jobs/names.ts';
import { SessionJournal } from './journal.ts';
import type { Metadata, SamplingSessionFacts, SessionFacts } from './journal-entries.ts';
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
  /** Versions that only its sampling sessions use, the oldest first. */
  readonly ephemeral: number[];
  /** Undefined in a new server until the model is rebuilt. */
  curve: LossCurve | undefined;
  /** The time of its last request, in Unix milliseconds. */
  usedMs: number;
}

/** A client's source of samples. */
export interface SamplingSession extends SamplingSessionFacts {
  readonly id: string;
}

/** A session. */
export interface TinkerSession {
  readonly id: string;
  readonly tenant: string;
  readonly metadata: Metadata;
  readonly journal: SessionJournal;
  readonly models: Map<string, TrainedModel>;
  readonly samplingSessions: Map<string, SamplingSession>;
  /** Unix milliseconds. */
  heardMs: number;
  hasEnded: boolean;
}

/** The client sends a heartbeat every 10 s, and warns after two minutes without an answer. */
const SILENCE_MS = 10 * 60_000;
const LEFT_MS = 86_400_000;
/** A client has one session. */
const MAX_SESSIONS = 100;
/** A loop makes a sampling session per step and uses the newest. The one that was not used for the longest time is forgotten. */
const MAX_SAMPLING_SESSIONS = 1000;
/** A client that still tries to send a request does so every 30 s. */
const QUIET_MS = 2 * 60_000;

/** A session that an earlier server has left. */
interface LeftSession {
  readonly journal: SessionJournal;
  readonly facts: SessionFacts;
}

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
  /** Opens the sessions that an earlier server has left, by tenant. */
  #reopening = Promise.resolve(new Map<string, Promise<void>>());
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
    const session = this.#toSession(facts, await SessionJournal.create(root, facts));
    this.#sessions.set(session.id, session);
    return session;
  }

  /**
   * Begins to continue the sessions of this base that an earlier server has left. All others stay for a day: their base may come
   * back. @param resume continues a session's models
   */
  reopen(resume: (session: TinkerSession) => Promise<void>): void {
    this.#reopening = this.#findLeft().then(
      (left) => {
        const opened = [...left].map(([tenant, sessions]) => {
          const open = async () => {
            for (const one of sessions)
              await this.#within(one.journal, () => this.#reopen(one, resume));
          };
          return [tenant, open()] as const;
        });
        return new Map(opened);
      },
      (error) => {
        this.#options.log.warn({ err: error }, 'the sessions of training loops could not be read');
        return new Map();
      },
    );
  }

  /** Resolves when the sessions of a tenant that an earlier server has left are open. */
  async whenReopened(tenant: string): Promise<void> {
    await (await this.#reopening).get(tenant);
  }

  /** Finds the sessions of this base, by tenant. After a day, removes sessions of other bases and damaged ones. */
  async #findLeft(): Promise<Map<string, LeftSession[]>> {
    const left = new Map<string, LeftSession[]>();
    for (const journal of await SessionJournal.findAll(this.#options.root)) {
      await this.#within(journal, async () => {
        const facts = await journal.readFacts();
        if (facts.base !== this.#options.base) return this.#removeOld(journal);
        left.set(facts.tenant, [...(left.get(facts.tenant) ?? []), { journal, facts }]);
      });
    }
    return left;
  }

  /** Sets a session aside if it cannot be read. */
  async #within(journal: SessionJournal, use: () => Promise<void>): Promise<void> {
    try {
      await use();
    } catch (error) {
      const message =
        'a session of a training loop is damaged and has ended; its files stay for a day';
      this.#options.log.warn({ err: error, folder: journal.directory }, message);
      await this.#removeOld(journal).catch(() => {}); // the next server tries again
    }
  }

  async #removeOld(journal: SessionJournal): Promise<void> {
    if (this.#options.now() - (await journal.changedMs()) > LEFT_MS) await journal.remove();
  }

  async #reopen(
    { journal, facts }: LeftSession,
    resume: (session: TinkerSession) => Promise<void>,
  ): Promise<void> {
    await journal.open();
    const session = this.#toSession(facts, journal);
    for (const [number, facts] of await journal.samplingSessions(MAX_SAMPLING_SESSIONS)) {
      const id = samplingSessionId(session, number);
      session.samplingSessions.set(id, { ...facts, id });
    }
    await resume(session);
    this.#sessions.set(session.id, session);
  }

  #toSession({ id, tenant, metadata }: SessionFacts, journal: SessionJournal): TinkerSession {
    const [models, samplingSessions] = [new Map(), new Map()];
    const heardMs = this.#options.now();
    return { id, tenant, metadata, journal, models, samplingSessions, heardMs, hasEnded: false };
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

  /** Finds a sampling session by its id. Throws as `model`. */
  samplingSession(tenant: string, id: string): SamplingSession {
    const { samplingSessions } = this.find(tenant, sessionOf(id));
    const found = samplingSessions.get(id);
    if (found) {
      samplingSessions.delete(id); // it becomes the newest
      samplingSessions.set(id, found);
      return found;
    }
    const param = 'sampling_session_id';
    throw new ServeError('not_found', `${param}: is unknown`, { param });
  }

  /** Adds a sampling session, unless the client repeats its request. */
  async addSamplingSession(
    session: TinkerSession,
    number: number,
    source: Omit<SamplingSessionFacts, 'clones'>,
  ): Promise<SamplingSession> {
    const id = samplingSessionId(session, number);
    const known = session.samplingSessions.get(id);
    if (known) return known;
    await session.journal.writeSamplingSession(number, { ...source, clones: 0 });
    // A repeated request may have been faster, and the sampling session may have copies.
    return (
      session.samplingSessions.get(id) ??
      this.#keepSamplingSession(session, { ...source, id, clones: 0 })
    );
  }

  /** Numbers a copy of a sampling session, from 1. Throws as `model`. */
  async joinSamplingSession(tenant: string, id: string): Promise<number> {
    const { id: _, ...facts } = this.samplingSession(tenant, id);
    const session = this.find(tenant, sessionOf(id));
    const joined = { ...facts, clones: facts.clones + 1 };
    session.samplingSessions.set(id, { ...joined, id });
    await session.journal.writeSamplingSession(numberOf(id), joined);
    return joined.clones;
  }

  async #keepSamplingSession(
    { samplingSessions, journal }: TinkerSession,
    added: SamplingSession,
  ): Promise<SamplingSession> {
    samplingSessions.set(added.id, added);
    const [oldest] = samplingSessions.keys();
    if (samplingSessions.size > MAX_SAMPLING_SESSIONS) {
      samplingSessions.delete(oldest!);
      await journal.removeSamplingSession(numberOf(oldest!));
    }
    return added;
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
    const model: TrainedModel = { id, number, work, ...progress, ephemeral: [], curve };
    session.models.set(id, model);
    return model;
  }

  /** Lets the models of quiet clients continue without the requests that have not arrived. */
  skipMissing(): void {
    const since = this.#options.now() - QUIET_MS;
    for (const { models } of this.#sessions.values()) {
      for (const { usedMs, work } of models.values()) if (usedMs < since) work.skipMissing();
    }
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

/** Returns the number of a sampling session within its session. */
function numberOf(id: string): number {
  return Number(id.slice(id.lastIndexOf(':') + 1));
}

function samplingSessionId({ id }: TinkerSession, number: number): string {
  return `${id}:sample:${number}`;
}

function modelId({ id }: TinkerSession, number: number): string {
  return `${id}:train:${number}`;
}

function sessionOf(id: string): string {
  return id.slice(0, id.indexOf(':'));
}
