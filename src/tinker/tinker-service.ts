// Sessions of Tinker's protocol: models in training, samplers, and the futures of their requests. A trainer process computes, the
// completions route samples, and the store keeps what is saved.
import { randomInt } from 'node:crypto';
import { guardStore } from '../../adapters/store/guarded-store.ts';
import { ServeError } from '../common/errors.ts';
import { TurnQueue } from '../common/turn-queue.ts';
import { type Backoff, backoffMs, every, sleep } from '../common/waiting.ts';
import type { Tenant } from '../contracts/tenant.ts';
import { type CheckpointPath, isCheckpointName, toTinkerPath } from '../contracts/tinker-path.ts';
import type { AdamStep, NewAdapter, ServiceTask } from '../contracts/training-service.ts';
import { CheckpointFiles, type ModelFiles } from './checkpoint-files.ts';
import { type FutureOutcome, Futures, type FutureValue } from './futures.ts';
import type { ForwardBackwardRequest } from './proto/tinker_pb.js';
import { progressOf, type RunProgress } from './run-progress.ts';
import { type RunRecord, Runs, type RunsOptions } from './runs.ts';
import { type SampleRequest, toCompletionBody, toSampleError, writeSamples } from './samples.ts';
import { Sessions, type TrainedModel } from './sessions.ts';
import type { TrainingProcess } from './training-process.ts';
import { type DatumBounds, toPass, writePassResult } from './wire.ts';

/** The parts of a server that the protocol needs. */
export interface TinkerOptions extends Omit<RunsOptions, 'store'> {
  readonly store: Parameters<typeof guardStore>[0];
  readonly base: {
    readonly digest: string;
    /** Its other names. */
    readonly names: readonly string[];
  };
  readonly bounds: DatumBounds;
  readonly process: TrainingProcess;
  /** A folder for files that are on their way to the store. */
  readonly directory: string;
  readonly limits: { readonly maxModels: number; readonly maxRank: number };
  /** Answers a completion, as its route does. */
  answer(tenant: Tenant, body: string): Promise<{ readonly status: number; readonly body: string }>;
  /** Returns the most requests for samples that are answered at the same time. */
  maxSampling(): number;
}

/** A request to a model. */
interface Numbered {
  /** The number of the request within its model. */
  readonly seq: number;
}

/** A new model of a session. */
interface NewModel {
  readonly sessionId: string;
  /** Its number within the session. */
  readonly number: number;
  readonly metadata: RunRecord['metadata'];
}

/** A checkpoint to load. */
interface LoadRequest {
  readonly path: string;
  readonly withOptimizer: boolean;
}

/** A new checkpoint. */
export interface SaveRequest extends Numbered {
  readonly folder: CheckpointPath['folder'];
  readonly name: string;
  readonly ttlS: number | null;
  readonly overwrite: boolean;
  readonly metadata: Readonly<Record<string, unknown>> | null;
}

/** The versions that only samplers use and that are kept of each model: samples of the last steps may still run. */
const KEPT_ASIDE = 4;
const CHECK_MS = 60_000;
/** A client asks again after at most 45 s. */
const WAIT_MS = 20_000;
const MAX_SEED = 2 ** 31;

/** The number of unfinished requests is bounded by `Futures`. */
const UNBOUNDED = { maxWaiting: Infinity, maxPerTenant: Infinity };
const SAMPLE_TRIES = 12;
const SAMPLE_BACKOFF: Backoff = { firstMs: 500, longestMs: 30_000 };

/** Serves Tinker's protocol. Methods throw `ServeError`. */
export class TinkerService {
  readonly #options: TinkerOptions;
  readonly #futures = new Futures();
  readonly #training = new TurnQueue(UNBOUNDED);
  readonly #files: CheckpointFiles;
  readonly #stopChecks: () => void;
  #sampling: TurnQueue | undefined;
  readonly runs: Runs;
  readonly sessions: Sessions;

  constructor(options: TinkerOptions) {
    this.#options = options;
    this.runs = new Runs({ ...options, store: guardStore(options.store) });
    this.#files = new CheckpointFiles({ ...options, runs: this.runs });
    this.sessions = new Sessions(options.now, (session) => {
      for (const model of session.models.values()) void this.#drop(session.tenant, model);
    });
    this.#stopChecks = every(CHECK_MS, () => this.sessions.endSilent());
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
    const model = this.sessions.peekModel(run.tenant, run.id);
    return progressOf(run, model, this.#options.process.holder);
  }

  /** Waits for the result of a request for some seconds. */
  wait(tenant: string, requestId: string): Promise<FutureOutcome> {
    return this.#futures.wait(requestId, tenant, WAIT_MS);
  }

  /** Creates a model with a new adapter. Returns the request's id. */
  createModel(
    tenant: string,
    {
      baseModel,
      adapter,
      metadata,
      ...model
    }: NewModel & {
      readonly baseModel: string;
      readonly adapter: Omit<NewAdapter, 'seed'> & { readonly seed: number | null };
    },
  ): string {
    const { maxRank } = this.#options.limits;
    if (adapter.rank > maxRank) {
      const param = 'lora_config.rank';
      const message = `${param}: is over the limit of ${maxRank} (--max-job-rank)`;
      throw new ServeError('invalid_request', message, { param });
    }
    const seed = Math.abs(adapter.seed ?? randomInt(MAX_SEED)) % MAX_SEED;
    return this.#begin(tenant, { ...model, metadata }, async (created) => {
      const task = { kind: 'create', model: created.id, adapter: { ...adapter, seed } } as const;
      await this.#load(tenant, created, { baseModel, metadata }, task);
      return { type: 'create_model', model_id: created.id };
    });
  }

  /** Creates a model from a checkpoint. Returns the request's id. */
  createFrom(tenant: string, { metadata, ...request }: NewModel & LoadRequest): string {
    return this.#begin(tenant, { metadata, ...request }, (model) =>
      this.#loadFrom(tenant, model, { ...request, metadata }),
    );
  }

  /** Loads a checkpoint into a model. Returns the request's id. */
  loadInto(tenant: string, modelId: string, { seq, ...request }: Numbered & LoadRequest): string {
    const model = this.sessions.model(tenant, modelId);
    return this.#inOrder(tenant, model, seq, () =>
      this.#loadFrom(tenant, model, { ...request, metadata: null }),
    );
  }

  /** Computes a loss and its gradients. Returns the request's id. */
  pass(tenant: string, request: ForwardBackwardRequest): string {
    const model = this.sessions.model(tenant, request.modelId);
    return this.#inOrder(tenant, model, request.seqId, async () => {
      const pass = toPass(request, this.#options.bounds);
      const result = await this.#perform(tenant, { kind: 'pass', model: model.id, ...pass });
      if (!pass.isForwardOnly) model.curve.addPass(pass, result.loss);
      return writePassResult(result);
    });
  }

  /** Updates a model. Returns the request's id. */
  step(
    tenant: string,
    modelId: string,
    { seq, adam }: Numbered & { readonly adam: AdamStep },
  ): string {
    const model = this.sessions.model(tenant, modelId);
    return this.#inOrder(tenant, model, seq, async () => {
      const task = { kind: 'step', model: model.id, adam } as const;
      const { gradNorm } = await this.#perform(tenant, task);
      model.curve.addStep();
      return { metrics: { 'grad_norm:mean': gradNorm } };
    });
  }

  /** Saves a checkpoint. Returns the request's id. */
  save(
    tenant: string,
    modelId: string,
    { seq, name, folder, ttlS, overwrite, metadata }: SaveRequest,
  ): string {
    if (!isCheckpointName(name)) {
      const message = 'path: must be 1 to 54 of A-Z a-z 0-9 . _ -';
      throw new ServeError('invalid_request', message, { param: 'path' });
    }
    const model = this.sessions.model(tenant, modelId);
    return this.#inOrder(tenant, model, seq, async () => {
      const to = { run: model.id, folder, name };
      const run = await this.runs.find(tenant, model.id);
      const isTaken = run.checkpoints.some((one) => one.folder === folder && one.name === name);
      if (isTaken && !overwrite) {
        const message = `path: there is a checkpoint ${toTinkerPath(to)}. Choose another name, or set overwrite.`;
        throw new ServeError('invalid_request', message, { param: 'path' });
      }
      const expires = ttlS === null ? null : Math.floor(this.#options.now() / 1000) + ttlS;
      await this.#write(tenant, model, folder === 'weights', (files) =>
        this.runs.save(
          run,
          { folder, name, expires, metadata },
          { ...files, publicationId: `${model.id}:${seq}` },
        ),
      );
      const type = folder === 'weights' ? 'save_weights' : 'save_weights_for_sampler';
      return { type, path: toTinkerPath(to) };
    });
  }

  /** Makes a sampler of a model's weights, without a checkpoint. Returns the request's id. */
  sampleFrom(
    tenant: string,
    modelId: string,
    { seq, sampler: number }: Numbered & { readonly sampler: number },
  ): string {
    const model = this.sessions.model(tenant, modelId);
    const session = this.sessions.find(tenant, modelId.slice(0, modelId.indexOf(':')));
    return this.#inOrder(tenant, model, seq, async () => {
      const run = await this.runs.find(tenant, model.id);
      const publicationId = `${model.id}:${seq}`;
      const saved = await this.#write(tenant, model, false, ({ directory }) =>
        this.runs.saveAside(run, { directory, publicationId }),
      );
      model.aside.push(saved.version);
      while (model.aside.length > KEPT_ASIDE) {
        await this.runs.removeVersion(tenant, model.id, model.aside.shift()!);
      }
      const source = { model: saved.model, baseModel: run.base_model, modelPath: undefined };
      const { id } = this.sessions.addSampler(session, number, source);
      return { type: 'save_weights_for_sampler', path: null, sampling_session_id: id };
    });
  }

  /** Draws samples. Returns the request's id. @param model the name of the model that answers */
  sample(tenant: Tenant, id: string, model: string, request: SampleRequest): string {
    const { bounds, maxSampling } = this.#options;
    this.#sampling ??= new TurnQueue({ ...UNBOUNDED, maxParallel: maxSampling() });
    const body = JSON.stringify(toCompletionBody(model, request, bounds));
    this.#futures.start(id, tenant.id, () =>
      this.#sampling!.take({ tenant: tenant.id }, async () =>
        writeSamples(JSON.parse(await this.#complete(tenant, body)), request),
      ),
    );
    return id;
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

  /** Ends the trainer. */
  close(): void {
    this.#stopChecks();
    this.#options.process.kill();
  }

  /** Adds a model and starts its first work, unless its client repeats the request. A model that fails is removed. */
  #begin(
    tenant: string,
    { sessionId, number }: NewModel,
    work: (model: TrainedModel) => Promise<FutureValue>,
  ): string {
    const session = this.sessions.find(tenant, sessionId);
    const id = `${session.id}:train:${number}:0`;
    if (this.#futures.has(id)) return id;
    const model = this.sessions.addModel(session, number, this.#options.limits.maxModels);
    this.#futures.start(id, tenant, () =>
      model.work
        .run(() => work(model))
        .catch((error) => {
          session.models.delete(model.id);
          throw error;
        }),
    );
    return id;
  }

  /** Starts a model's work in the order of the numbers, unless its client repeats the request. */
  #inOrder(
    tenant: string,
    model: TrainedModel,
    seq: number,
    work: () => Promise<FutureValue>,
  ): string {
    const id = `${model.id}:${seq}`;
    if (this.#futures.has(id)) return id;
    const result = model.work.runInOrder(seq, () => {
      this.#requireHeld(model);
      return work();
    });
    this.#futures.start(id, tenant, () => result);
    return id;
  }

  #requireHeld({ run, holder }: TrainedModel): void {
    if (run && holder === this.#options.process.holder) return;
    const message = run
      ? 'The trainer has ended and the model is lost. Continue from its last checkpoint.'
      : 'The model could not be created.';
    throw new ServeError('internal_error', message);
  }

  #perform<K extends ServiceTask['kind']>(tenant: string, task: Extract<ServiceTask, { kind: K }>) {
    return this.#training.take({ tenant }, () => this.#options.process.perform<K>(task));
  }

  async #load(
    tenant: string,
    model: TrainedModel,
    { baseModel, metadata }: { baseModel: string; metadata: RunRecord['metadata'] },
    task: Extract<ServiceTask, { kind: 'create' | 'load' }>,
  ): Promise<void> {
    const { rank } = await this.#perform<'create' | 'load'>(tenant, task);
    model.holder = this.#options.process.holder;
    if (model.run) return;
    const base_digest = this.#options.base.digest;
    await this.runs.create({
      id: model.id,
      tenant,
      base_model: baseModel,
      base_digest,
      rank,
      metadata,
    });
    model.run = await this.runs.find(tenant, model.id);
  }

  async #loadFrom(
    tenant: string,
    model: TrainedModel,
    { metadata, ...from }: Omit<NewModel, 'sessionId' | 'number'> & LoadRequest,
  ): Promise<FutureValue> {
    await this.#files.fetch(tenant, from, async ({ base_model: baseModel }, files) => {
      const task = { kind: 'load', model: model.id, ...files } as const;
      await this.#load(tenant, model, { baseModel, metadata }, task);
    });
    return { type: 'load_weights', path: from.path, model_id: model.id };
  }

  /** Has the trainer write a model, and hands its files on. */
  #write<T>(
    tenant: string,
    model: TrainedModel,
    withOptimizer: boolean,
    use: (files: ModelFiles) => Promise<T>,
  ): Promise<T> {
    return this.#files.within(withOptimizer, async (files) => {
      await this.#perform(tenant, { kind: 'save', model: model.id, ...files });
      const used = await use(files);
      await this.#note(tenant, model);
      return used;
    });
  }

  /** Records how far a model is. If that fails, the next checkpoint does it. */
  async #note(tenant: string, { id, curve, usedMs }: TrainedModel): Promise<void> {
    await this.runs.note(tenant, id, curve.data, usedMs).catch(() => {});
  }

  async #drop(tenant: string, model: TrainedModel): Promise<void> {
    await model.work
      .run(async () => {
        const { process } = this.#options;
        if (model.holder && model.holder === process.holder) {
          await this.#perform(tenant, { kind: 'drop', model: model.id });
        }
        if (this.sessions.isEmpty) process.end(); // frees the base's memory
        await this.#note(tenant, model);
        for (const version of model.aside) await this.runs.removeVersion(tenant, model.id, version);
      })
      .catch(() => {}); // what is left behind only takes space
  }
}
