// Performs the requests to models: the trainer computes, the store keeps what is saved. If the trainer ends, another one rebuilds
// a model from its last state and the requests since, and the request that was cut off runs again.
import path from 'node:path';
import { fieldError, ServeError } from '../common/errors.ts';
import { TurnQueue } from '../common/turn-queue.ts';
import { toTinkerPath } from '../contracts/tinker-path.ts';
import type { ServiceCall, ServiceCalls, ServiceTask } from '../contracts/training-service.ts';
import type { CheckpointFiles, ModelFiles } from './checkpoint-files.ts';
import type { FutureValue } from './futures.ts';
import type { JournaledRequest, JournaledRequests } from './journal-entries.ts';
import { LossCurve } from './loss-curve.ts';
import { passInBatches } from './micro-batches.ts';
import { expiryOf, type RunRecord } from './run-record.ts';
import type { Runs } from './runs.ts';
import { type Sessions, sessionEnded, type TinkerSession, type TrainedModel } from './sessions.ts';
import { type Trainer, TrainerLost } from './training-process.ts';
import { type DatumBounds, parsePassRequest, toPass, writePassResult } from './wire.ts';

/** The parts of a server that the requests to models need. */
interface ModelWorkOptions {
  readonly base: { readonly digest: string };
  readonly bounds: DatumBounds;
  readonly process: Trainer;
  readonly files: CheckpointFiles;
  readonly runs: Runs;
  readonly sessions: Sessions;
  /** Returns Unix milliseconds. */
  readonly now: () => number;
}

/** A request to a model, at its turn. */
interface Turn {
  readonly session: TinkerSession;
  readonly model: TrainedModel;
  readonly seq: number;
  /** Whether a new trainer has to repeat the request, even if it failed. */
  hasChanged?: boolean;
}

type Handlers = {
  readonly [K in keyof JournaledRequests]: (
    turn: Turn,
    request: JournaledRequests[K],
  ) => Promise<FutureValue>;
};

/** The versions that only sampling sessions use and that are kept of each model: samples of the last steps may still run. */
export const KEPT_EPHEMERAL = 4;
/** A request that ends the trainer again and again is refused. What ends it between a request's tasks does not count. */
const MAX_TRIES = 3;
/** The most computing that is repeated after a trainer ended. Saving a state takes some tenths of a second. */
const STATE_AFTER_MS = 30_000;
/** The most bytes of requests that a new trainer would repeat. All models of a session share the room of its journal. */
const STATE_AFTER_BYTES = 2 ** 26;

const NEVER = new Promise<never>(() => {});

/** The trainer that had the model has ended, during a task of another one. */
class ModelLost extends TrainerLost {}

/** Performs requests. */
export class ModelWork {
  readonly #options: ModelWorkOptions;
  /** `Futures` bounds the number of unfinished requests. */
  readonly #training = new TurnQueue({ maxWaiting: Infinity });
  #isClosed = false;
  readonly #handlers: Handlers = {
    create: async (turn, { baseModel, adapter, metadata }) => {
      const { rank } = await this.#take(turn, { kind: 'create', model: turn.model.id, adapter });
      await this.#addRun(turn, { baseModel, rank, metadata });
      return { type: 'create_model', model_id: turn.model.id };
    },
    load: (turn, request) => this.#load(turn, request),
    pass: async (turn, { bytes }) => {
      const { columns, ...pass } = toPass(parsePassRequest(bytes), this.#options.bounds);
      const task = { kind: 'pass', model: turn.model.id, ...pass } as const;
      const result = await passInBatches(pass.data, (data) => this.#take(turn, { ...task, data }));
      if (!pass.isForwardOnly) turn.model.curve?.addPass(turn.seq, pass, result.loss);
      return writePassResult(result, columns);
    },
    step: async (turn, { adam }) => {
      const task = { kind: 'step', model: turn.model.id, adam } as const;
      const { gradNorm } = await this.#take(turn, task);
      turn.model.curve?.addStep(turn.seq);
      return { metrics: { 'grad_norm:mean': gradNorm } };
    },
    save: (turn, request) => this.#save(turn, request),
    sampler: (turn, { sampler: number }) => this.#addSamplingSession(turn, number),
    refused: async (_, { error }) => {
      throw ServeError.fromPlain(error);
    },
  };

  constructor(options: ModelWorkOptions) {
    this.#options = options;
  }

  /** Performs a request from the journal, and keeps its result there. */
  async perform(session: TinkerSession, model: TrainedModel, seq: number): Promise<FutureValue> {
    const { journal } = session;
    const doneBytes = journal.doneBytes(model.number);
    if (model.computedMs >= STATE_AFTER_MS || doneBytes >= STATE_AFTER_BYTES) {
      await this.#keepState({ session, model, seq: model.done }).catch(() => {}); // the requests are still there
    }
    const turn: Turn = { session, model, seq };
    const outcome = await journal
      .readRequest(model.number, seq)
      .then((request) => this.#try(turn, request))
      .then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
    if (this.#isClosed) return NEVER; // the next server performs it
    const result = 'value' in outcome ? outcome : { error: toPlain(outcome.error) };
    await journal.addResult(model.number, seq, result).catch((error) => {
      model.holder = undefined; // the next state must not contain a request without a result
      throw error;
    });
    model.done = seq;
    if (!turn.hasChanged) await journal.removeRequest(model.number, seq).catch(() => {}); // it only takes space
    if ('value' in outcome) return outcome.value;
    if (seq === 0) session.models.delete(model.id);
    throw outcome.error;
  }

  /** Forgets a model after its current request. */
  async drop(session: TinkerSession, model: TrainedModel): Promise<void> {
    const { runs } = this.#options;
    await model.work
      .run(async () => {
        if (this.#isHeld(model)) {
          const turn = { session, model, seq: model.done };
          await this.#take(turn, { kind: 'drop', model: model.id });
        }
        await this.#note(session, model);
        for (const version of model.ephemeral) {
          await runs.removeVersion(session.tenant, model.id, version);
        }
      })
      .catch(() => {}); // what is left behind only takes space
  }

  /** Ends the trainer. Requests that it has not done stay in their journals. */
  close(): void {
    this.#isClosed = true;
    this.#options.process.kill();
  }

  async #try(turn: Turn, { kind, ...request }: JournaledRequest): Promise<FutureValue> {
    const handle = this.#handlers[kind] as (turn: Turn, request: object) => Promise<FutureValue>;
    for (let tries = 0; ; ) {
      if (turn.session.hasEnded) throw sessionEnded();
      try {
        if (turn.seq > 0 && kind !== 'refused') await this.#requireHeld(turn);
        return await handle(turn, request);
      } catch (error) {
        if (error instanceof ModelLost) continue;
        if (!(error instanceof TrainerLost) || ++tries === MAX_TRIES) throw error;
      }
    }
  }

  #isHeld({ holder }: TrainedModel): boolean {
    return holder !== undefined && holder === this.#options.process.holder;
  }

  /** Has the trainer perform a task when it is the tenant's turn. Throws `ServeError` (410) if the session has ended. */
  #take<K extends ServiceCall>(
    turn: Turn,
    task: Extract<ServiceTask, { kind: K }>,
  ): Promise<ServiceCalls[K]['result']> {
    const { session, model } = turn;
    const { process } = this.#options;
    return this.#training.take({ tenant: session.tenant }, async () => {
      if (session.hasEnded && task.kind !== 'drop') throw sessionEnded();
      const isNew = task.kind === 'create' || task.kind === 'load';
      if (!isNew && !this.#isHeld(model)) throw new ModelLost();
      const begin = performance.now();
      turn.hasChanged ||= changesModel(task);
      try {
        const performed = process.perform<K>(task);
        const { holder } = process; // it may end before its result is here
        const result = await performed;
        if (isNew) model.holder = holder;
        return result;
      } catch (error) {
        if (error instanceof TrainerLost) turn.hasChanged = false;
        throw error;
      } finally {
        model.computedMs += performance.now() - begin;
      }
    });
  }

  /** Rebuilds the model if the trainer lacks it. */
  async #requireHeld(turn: Turn): Promise<void> {
    const { model } = turn;
    if (!model.isCreated) throw new ServeError('internal_error', 'The model could not be created.');
    if (this.#isHeld(model)) return;
    await this.#rebuild(turn).catch((error) => {
      model.holder = undefined; // a part of it is not the model
      throw error;
    });
  }

  async #rebuild(turn: Turn): Promise<void> {
    const { session, model } = turn;
    const { journal } = session;
    model.holder = undefined;
    // Without it, the record stays as it is.
    model.curve ??= await this.#options.runs.find(session.tenant, model.id).then(
      ({ curve }) => new LossCurve(curve),
      () => undefined,
    );
    const { state, request } = journal.entries().get(model.number)!;
    const from = state.at(-1);
    if (from !== undefined) {
      const files = stateFiles(journal.stateFolder(model.number, from));
      await this.#take(turn, { kind: 'load', model: model.id, ...files });
    }
    for (const seq of request) {
      if (seq > (from ?? -1) && seq < turn.seq) await this.#repeat({ session, model, seq });
    }
    if (model.holder === undefined) {
      const message = "The model's files on the server are lost. Continue from a saved path.";
      throw new ServeError('internal_error', message);
    }
  }

  /** Repeats what a request that is done has changed. */
  async #repeat(turn: Turn): Promise<void> {
    const { session, model, seq } = turn;
    const result = await session.journal.readResult(model.number, seq);
    const hasFailed = result !== undefined && 'error' in result;
    if (hasFailed && result.error.code === 'internal_error') return; // it ended the trainer
    const request = await session.journal.readRequest(model.number, seq);
    if (request.kind === 'create') {
      await this.#take(turn, { kind: 'create', model: model.id, adapter: request.adapter });
    } else if (request.kind === 'step' || request.kind === 'pass') {
      await this.#handlers[request.kind](turn, request as never).catch((error) => {
        if (error instanceof TrainerLost || (result && !hasFailed)) throw error;
      });
    }
  }

  async #keepState(turn: Turn): Promise<void> {
    const { session, model, seq } = turn;
    model.computedMs = 0;
    await this.#note(session, model);
    await session.journal.addState(model.number, seq, async (folder) => {
      const task = { kind: 'save', model: model.id, withGradients: true } as const;
      await this.#take(turn, { ...task, ...stateFiles(folder) });
    });
  }

  async #addRun(
    { session: { tenant }, model }: Turn,
    facts: Pick<RunRecord, 'baseModel' | 'rank' | 'metadata'>,
  ): Promise<void> {
    const { runs, base } = this.#options;
    await runs.create({ id: model.id, tenant, baseDigest: base.digest, ...facts });
    model.isCreated = true;
  }

  async #load(turn: Turn, { metadata, ...from }: JournaledRequests['load']): Promise<FutureValue> {
    const { session, model, seq } = turn;
    const loaded = { type: 'load_weights', path: from.path, model_id: model.id };
    if (session.journal.hasState(model.number, seq)) return loaded; // its server was killed before it had kept the result
    await this.#options.files.fetch(session.tenant, from, async ({ run: { baseModel } }, files) => {
      const { rank } = await this.#take(turn, { kind: 'load', model: model.id, ...files });
      if (!model.isCreated) await this.#addRun(turn, { baseModel, rank, metadata });
    });
    // The checkpoint may be removed, so the journal needs its own copy. Without one the model stays as it was.
    await this.#keepState(turn).catch((error) => {
      model.holder = undefined;
      throw error;
    });
    return loaded;
  }

  async #save(turn: Turn, { folder, name, ttlS, overwrite, metadata }: JournaledRequests['save']) {
    const { runs, now } = this.#options;
    const { session, model, seq } = turn;
    const to = { run: model.id, folder, name };
    const run = await runs.find(session.tenant, model.id);
    const taken = run.checkpoints.find((one) => one.folder === folder && one.name === name);
    if (taken && taken.request !== seq && !overwrite) {
      const fault = `there is a checkpoint ${toTinkerPath(to)}. Choose another name, or set overwrite.`;
      throw fieldError('path', fault);
    }
    const expiresMs = expiryOf(ttlS, now());
    await this.#write(turn, folder === 'weights', (files) =>
      runs.save(
        run,
        { folder, name, expiresMs, metadata, request: seq },
        { ...files, publicationId: `${model.id}:${seq}` },
      ),
    );
    const type = folder === 'weights' ? 'save_weights' : 'save_weights_for_sampler';
    return { type, path: toTinkerPath(to) };
  }

  async #addSamplingSession(turn: Turn, number: number): Promise<FutureValue> {
    const { runs, sessions } = this.#options;
    const { session, model, seq } = turn;
    const run = await runs.find(session.tenant, model.id);
    const publicationId = `${model.id}:${seq}`;
    const saved = await this.#write(turn, false, ({ directory }) =>
      runs.saveAside(run, { directory, publicationId }),
    );
    const source = { model: saved.model, baseModel: run.baseModel, modelPath: undefined };
    const { id } = await sessions.addSamplingSession(session, number, source);
    if (!model.ephemeral.includes(saved.version)) model.ephemeral.push(saved.version);
    while (model.ephemeral.length > KEPT_EPHEMERAL) {
      await runs.removeVersion(session.tenant, model.id, model.ephemeral.shift()!);
    }
    return { type: 'save_weights_for_sampler', path: null, sampling_session_id: id };
  }

  /** Has the trainer write a model, and hands its files on. */
  #write<T>(
    turn: Turn,
    withOptimizer: boolean,
    use: (files: ModelFiles) => Promise<T>,
  ): Promise<T> {
    return this.#options.files.within(withOptimizer, async (files) => {
      const task = { kind: 'save', model: turn.model.id, withGradients: false } as const;
      await this.#take(turn, { ...task, ...files });
      const used = await use(files);
      await this.#note(turn.session, turn.model);
      return used;
    });
  }

  /** Records how far a model is. If that fails, the next checkpoint does it. */
  async #note({ tenant }: TinkerSession, { id, curve, usedMs }: TrainedModel): Promise<void> {
    if (curve) await this.#options.runs.note(tenant, id, curve.data, usedMs).catch(() => {});
  }
}

/** Whether a task changes a model, even if it fails: a pass may have added some of its gradients. States contain what is loaded. */
function changesModel(task: ServiceTask): boolean {
  return task.kind === 'pass'
    ? !task.isForwardOnly
    : task.kind === 'create' || task.kind === 'step';
}

function stateFiles(folder: string): ModelFiles {
  return {
    directory: path.join(folder, 'adapter'),
    momentsFile: path.join(folder, 'moments.safetensors'),
  };
}

function toPlain(error: unknown) {
  if (error instanceof ServeError) return error.toPlain();
  return new ServeError('internal_error', 'The server failed. Its log gives the reason.').toPlain();
}
