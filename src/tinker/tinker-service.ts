// Sessions of Tinker's protocol: models in training, sampling sessions, and the futures of their requests. A trainer process
// computes, the completions route samples, and the store keeps what is saved.
import { randomInt } from 'node:crypto';
import { utimes } from 'node:fs/promises';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { guardStore, type StoreLog } from '../../adapters/store/guarded-store.ts';
import { fieldError, ServeError } from '../common/errors.ts';
import { append } from '../common/long-arrays.ts';
import { TurnQueue } from '../common/turn-queue.ts';
import { type Backoff, backoffMs, every, sleep } from '../common/waiting.ts';
import type { Tenant } from '../contracts/tenant.ts';
import { adapterOfRun, isCheckpointName } from '../contracts/tinker-path.ts';
import type { NewAdapter } from '../contracts/training-service.ts';
import { createIds } from '../jobs/names.ts';
import { CheckpointFiles } from './checkpoint-files.ts';
import { type FutureOutcome, Futures } from './futures.ts';
import type { JournaledRequest, JournaledRequests } from './journal-entries.ts';
import { KEPT_EPHEMERAL, ModelWork } from './model-work.ts';
import { progressOf, type RunProgress } from './run-progress.ts';
import { expiryOf, type RunRecord } from './run-record.ts';
import { Runs, type RunsOptions } from './runs.ts';
import {
  type SampleBounds,
  type SampleRequest,
  toCompletionBody,
  toSampleError,
  writeSamples,
} from './samples.ts';
import { Sessions, sessionEnded, type TinkerSession, type TrainedModel } from './sessions.ts';
import type { Trainer } from './training-process.ts';
import type { DatumBounds } from './wire.ts';

/** The parts of a server that the protocol needs. */
export interface TinkerOptions extends Omit<RunsOptions, 'store'> {
  readonly store: Parameters<typeof guardStore>[0];
  readonly base: {
    readonly digest: string;
    /** Its other names. */
    readonly names: readonly string[];
  };
  readonly bounds: DatumBounds & SampleBounds;
  readonly log: StoreLog;
  readonly process: Trainer;
  /** A folder for sessions, and for files that are on their way to the store. */
  readonly directory: string;
  readonly limits: { readonly maxModels: number; readonly maxRank: number };
  /** Answers a completion, as its route does. */
  answer(tenant: Tenant, body: string): Promise<{ readonly status: number; readonly body: string }>;
  /** Returns the most requests for samples that are answered at the same time. */
  maxSampling(): number;
}

/** A request to a model of a tenant. */
interface ModelTarget {
  readonly tenant: string;
  readonly modelId: string;
  /** The number of the request within its model. */
  readonly seq: number;
}

/** A new model of a session. */
interface NewModel {
  readonly tenant: string;
  readonly sessionId: string;
  /** Its number within the session. */
  readonly number: number;
}

/** The folder of sessions, which the next server inherits. */
export const SESSIONS_FOLDER = 'sessions';
const CHECK_MS = 60_000;
/** How long an expired checkpoint may take space. A sweep reads all runs of the store, 0.6 ms of CPU each. */
const SWEEP_MS = 86_400_000;
/** A client asks again after at most 45 s. */
const WAIT_MS = 20_000;
/** The statuses below 500 after which a client sends a request again. */
const RETRIED: ReadonlySet<number> = new Set([408, 409, 429]);
const MAX_SEED = 2 ** 31;

/** A client repeats a request within minutes. */
const MAX_COPIES = 1000;

const SAMPLE_TRIES = 12;
const SAMPLE_BACKOFF: Backoff = { firstMs: 500, longestMs: 30_000 };

/** Serves Tinker's protocol. Methods throw `ServeError`. */
export class TinkerService {
  readonly #options: TinkerOptions;
  readonly #futures = new Futures();
  readonly #files: CheckpointFiles;
  readonly #models: ModelWork;
  /** The newest copies, by tenant and key. */
  readonly #copies = new LRUCache<string, Promise<string>>({ max: MAX_COPIES });
  readonly #createId: ReturnType<typeof createIds>;
  readonly #accepting = new TurnQueue({ maxWaiting: Infinity, maxParallel: Infinity });
  readonly #closed = new AbortController();
  #sampling: TurnQueue | undefined;
  readonly runs: Runs;
  readonly sessions: Sessions;

  /** Serves the protocol, and begins to continue the sessions in the folder. */
  constructor(options: TinkerOptions) {
    this.#options = options;
    const { base, directory, now, log } = options;
    this.runs = new Runs({ ...options, store: guardStore(options.store, log) });
    this.sessions = new Sessions({
      now,
      base: base.digest,
      root: path.join(directory, SESSIONS_FOLDER),
      log,
      onEnd: (session) => void this.#forget(session).catch(() => {}), // what is left behind only takes space
    });
    this.#files = new CheckpointFiles({ ...options, runs: this.runs });
    this.#createId = createIds(now);
    this.#models = new ModelWork({
      ...options,
      files: this.#files,
      runs: this.runs,
      sessions: this.sessions,
    });
    const stops = [
      every(CHECK_MS, () => {
        this.sessions.endSilent();
        this.sessions.skipMissing();
        // Servers on other machines remove folders that have not changed for a day.
        void utimes(directory, new Date(), new Date()).catch(() => {}); // there is none before the first session
      }),
      every(SWEEP_MS, () => this.#sweep()),
    ];
    this.#closed.signal.addEventListener('abort', () => {
      for (const stop of stops) stop();
    });
    this.sessions.reopen((session) => this.#reopenModels(session));
    this.#sweep();
  }

  /** The base's other names. */
  get baseNames(): readonly string[] {
    return this.#options.base.names;
  }

  /** The bounds of a sequence. */
  get bounds(): DatumBounds {
    return this.#options.bounds;
  }

  /** Returns how far a run is. */
  progressOf(run: RunRecord): RunProgress {
    return progressOf(run, this.sessions.peekModel(run.tenant, run.id));
  }

  /** Waits for the result of a request for some seconds. */
  wait(tenant: string, requestId: string): Promise<FutureOutcome> {
    return this.#futures.wait(requestId, tenant, WAIT_MS);
  }

  /** Creates a model with a new adapter. Returns the request's id. */
  createModel(
    to: NewModel,
    {
      adapter,
      ...request
    }: Omit<JournaledRequests['create'], 'adapter'> & {
      readonly adapter: Omit<NewAdapter, 'seed'> & { readonly seed: number | null };
    },
  ): Promise<string> {
    const { maxRank } = this.#options.limits;
    if (adapter.rank > maxRank) {
      throw fieldError('lora_config.rank', `is over the limit of ${maxRank} (--max-job-rank)`);
    }
    const seed = Math.abs(adapter.seed ?? randomInt(MAX_SEED)) % MAX_SEED;
    return this.#begin(to, { kind: 'create', adapter: { ...adapter, seed }, ...request });
  }

  /** Creates a model from a checkpoint. Returns the request's id. */
  createFrom(to: NewModel, request: JournaledRequests['load']): Promise<string> {
    return this.#begin(to, { kind: 'load', ...request });
  }

  /** Starts a request to a model. Returns the request's id. */
  async submit({ tenant, modelId, seq }: ModelTarget, request: JournaledRequest): Promise<string> {
    if (request.kind === 'save' && !isCheckpointName(request.name)) {
      throw fieldError('path', 'must be 1 to 54 of A-Z a-z 0-9 . _ -');
    }
    const model = this.sessions.model(tenant, modelId);
    const session = this.sessions.find(tenant, modelId.slice(0, modelId.indexOf(':')));
    return await this.#accept(session, model, { seq, request });
  }

  /** Uses up the number of a refused request if its client does not send it again: the next requests wait for it. */
  async refuse(target: ModelTarget, error: unknown): Promise<void> {
    if (!(error instanceof ServeError) || error.status >= 500 || RETRIED.has(error.status)) return;
    // Without room for it, the next requests start when the client is quiet.
    await this.submit(target, { kind: 'refused', error: error.toPlain() }).catch(() => {});
  }

  /** Draws samples. Returns the request's id. @param model the name of the model that answers */
  sample(tenant: Tenant, id: string, model: string, request: SampleRequest): string {
    if (this.#futures.has(id)) return id;
    const { bounds, maxSampling } = this.#options;
    toCompletionBody(model, request, bounds); // refuses what does not fit before it waits
    // Numbers take several times as much memory as their digits.
    const bytes = Buffer.from(JSON.stringify(request));
    const read = () => JSON.parse(bytes.toString()) as SampleRequest;
    this.#futures.requireRoom(tenant.id, bytes.length);
    this.#sampling ??= new TurnQueue({ maxWaiting: Infinity, maxParallel: maxSampling() });
    const draw = async () => {
      const body = JSON.stringify(toCompletionBody(model, read(), bounds));
      return writeSamples(JSON.parse(await this.#complete(tenant, body)), read());
    };
    const work = () => this.#sampling!.take({ tenant: tenant.id }, draw);
    this.#futures.start(id, tenant.id, work, bytes.length);
    return id;
  }

  /** Copies a checkpoint, once for each key of a tenant. Resolves with the path of the copy. @param ttlS seconds; null: it stays */
  copy(
    tenant: string,
    key: string,
    { path: from, ttlS }: { readonly path: string; readonly ttlS: number | null },
  ): Promise<string> {
    const id = `${tenant} ${key}`;
    const known = this.#copies.get(id);
    if (known) return known;
    const expiresMs = expiryOf(ttlS, this.#options.now());
    const to = `${this.#createId('tinker')}:train:0`;
    const copy = this.#files.copy(tenant, { path: from, to, expiresMs });
    this.#copies.set(id, copy);
    copy.catch(() => this.#copies.delete(id)); // another try may succeed
    return copy;
  }

  /** Answers a completion, again while the server is busy. */
  async #complete(tenant: Tenant, body: string): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#options.answer(tenant, body);
      if (response.status === 200) return response.body;
      const isBusy = response.status === 429 || response.status === 503;
      if (!isBusy || attempt === SAMPLE_TRIES) throw toSampleError(response.status, response.body);
      await sleep(backoffMs(attempt, SAMPLE_BACKOFF));
    }
  }

  /** Ends the trainer. The next server continues the sessions. */
  close(): void {
    this.#closed.abort();
    this.#models.close();
  }

  /** Removes expired checkpoints in the background. */
  #sweep(): void {
    const { signal } = this.#closed;
    this.runs.sweep({ signal }).catch((err) => {
      if (!signal.aborted) this.#options.log.warn({ err }, 'cannot remove expired checkpoints');
    });
  }

  async #begin(
    { tenant, sessionId, number }: NewModel,
    request: JournaledRequest,
  ): Promise<string> {
    const session = this.sessions.find(tenant, sessionId);
    const id = `${session.id}:train:${number}:0`;
    if (this.#futures.has(id)) return id;
    const model = this.sessions.addModel(session, number, this.#options.limits.maxModels);
    return await this.#accept(session, model, { seq: 0, request }).catch((error) => {
      const isNew = model.done < 0 && !this.#futures.has(id);
      if (isNew) session.models.delete(model.id); // it would count as a model for ever
      throw error;
    });
  }

  /** Keeps a request and starts it, unless its client repeats it. */
  async #accept(
    session: TinkerSession,
    model: TrainedModel,
    { seq, request }: { readonly seq: number; readonly request: JournaledRequest },
  ): Promise<string> {
    const id = `${model.id}:${seq}`;
    if (this.#futures.has(id)) return id;
    const accept = async () => {
      // The requests that wait for it may fill the tenant's share.
      if (!model.work.isAwaited(seq)) this.#futures.requireRoom(session.tenant);
      model.work.reserve(seq);
      try {
        await session.journal.addRequest(model.number, seq, request);
        if (session.hasEnded) throw sessionEnded();
      } catch (error) {
        model.work.release(seq);
        if (session.hasEnded) model.work.skipMissing(); // as in #forget
        throw error;
      }
      this.#start(session, model, seq);
    };
    // A client that repeats a request may not have waited until it was written.
    await this.#accepting.take({ tenant: session.tenant }, accept, id);
    return id;
  }

  #start(session: TinkerSession, model: TrainedModel, seq: number): void {
    this.#futures.start(`${model.id}:${seq}`, session.tenant, () =>
      model.work.runInOrder(seq, () => this.#models.perform(session, model, seq)),
    );
  }

  /** Continues a session's models: keeps the results that are known, and starts the other requests. */
  async #reopenModels(session: TinkerSession): Promise<void> {
    const { journal, tenant } = session;
    for (const [number, { request, result, state }] of journal.entries()) {
      const done = result.at(-1) ?? -1;
      const model = this.sessions.reopenModel(session, number, done);
      model.isCreated = state.length > 0;
      append(model.ephemeral, ephemeralVersions(session, model));
      for (const seq of result) {
        const kept = await journal.readResult(number, seq);
        model.isCreated ||= seq === 0 && kept !== undefined && 'value' in kept;
        this.#futures.start(`${model.id}:${seq}`, tenant, async () => {
          if (kept && 'value' in kept) return kept.value;
          throw kept ? ServeError.fromPlain(kept.error) : new Error('a result is damaged');
        });
      }
      for (const seq of request) if (seq > done) this.#start(session, model, seq);
      if (!model.isCreated && done >= 0) session.models.delete(model.id);
    }
  }

  async #forget(session: TinkerSession): Promise<void> {
    const models = [...session.models.values()];
    for (const { work } of models) work.skipMissing(); // what waits for them would never be answered
    await Promise.all(models.map((model) => this.#models.drop(session, model)));
    if (this.sessions.isEmpty) this.#options.process.end(); // frees the base's memory
    await session.journal.remove();
  }
}

/** Returns the versions of a model that its sampling sessions use and that still exist. */
function ephemeralVersions({ samplingSessions }: TinkerSession, { id }: TrainedModel): number[] {
  const prefix = `${adapterOfRun(id)}@`;
  const own = [...samplingSessions.values()].filter(
    ({ model, modelPath }) => modelPath === undefined && model.startsWith(prefix),
  );
  return own.map(({ model }) => Number(model.slice(prefix.length))).slice(-KEPT_EPHEMERAL);
}
