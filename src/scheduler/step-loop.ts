// The engine process's loop: messages in, steps on the engine, events out. Owns the adapters' leases.
// Knows neither how messages travel (a channel or a function call) nor how a batch is chosen or run.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { assertNever } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import type { AdapterSource } from '../contracts/adapter-source.ts';
import type { GenerationRequest } from '../contracts/generation.ts';
import type { AdapterKey, Batch, BatchResult, SlotId } from '../engine/batch.ts';
import { createSampler } from '../engine/sampler.ts';
import { LoadWaits } from './load-waits.ts';
import type {
  AdapterCacheFigures,
  CacheTier,
  EngineEvent,
  EngineModelInfo,
  EngineStats,
  FromEngine,
  PrefetchOutcome,
  SequenceId,
  ToEngine,
} from './protocol.ts';
import {
  type RunOutcome,
  Scheduler,
  type SchedulerOptions,
  type Step,
  type StepPrefill,
} from './scheduler.ts';
import { createSequence, isTerminal } from './sequence.ts';

/** What the loop needs of an engine. */
export interface StepEngine {
  readonly info: EngineModelInfo;
  run(batch: Batch): Promise<BatchResult>;
  /** Copies the first `length` positions. */
  moveSlot(from: SlotId, to: SlotId, length: number): void | Promise<void>;
  zeroSlot(slot: SlotId): void | Promise<void>;
  /** Does beforehand, beside the steps, what attaching would make a step wait for. */
  prepareFor(weights: AdapterWeights): Promise<void>;
  /** Whether these, and nothing else, can be attached at once. */
  canAttach(adapters: readonly AdapterWeights[]): boolean;
  attachAdapter(weights: AdapterWeights): void | Promise<void>;
  detachAdapter(key: AdapterKey): void | Promise<void>;
  release(): void | Promise<void>;
}

/** What the loop needs of an adapter cache. */
export interface AdapterLeases {
  /**
   * Rejects with a `ServeError` that says what is wrong with the adapter, with what the disk said, or with the
   * signal's reason.
   */
  lease(source: AdapterSource, options: LeaseOptions): Promise<AdapterLease>;
  /** Digests of what is loaded. */
  resident(): string[];
  stats(): AdapterLeasesStats;
}

export type AdapterLeasesStats = Readonly<
  Omit<AdapterCacheFigures, 'bytes' | 'adapters'> &
    Record<'idleBytes' | 'leasedBytes' | 'idleCount' | 'leasedCount', number>
>;

export interface LeaseOptions {
  readonly signal?: AbortSignal;
  /** Others are evicted before it for so long. */
  readonly keepWarmMs?: number;
}

export interface AdapterLease {
  readonly weights: AdapterWeights;
  readonly tier: CacheTier;
  readonly loadMs: number;
  release(): void;
}

export interface StepLoopOptions {
  engine: StepEngine;
  adapters: AdapterLeases;
  limits?: Omit<SchedulerOptions, 'slotCount' | 'maxSeqLength' | 'canAttach'>;
}

type SubmitMessage = Extract<ToEngine, { type: 'submit' }>;
type PrefetchMessage = Extract<ToEngine, { type: 'prefetch' }>;

export class StepLoop {
  readonly #engine: StepEngine;
  readonly #adapters: AdapterLeases;
  readonly #scheduler: Scheduler;
  readonly #leases = new Map<SequenceId, AdapterLease>();
  readonly #waits = new LoadWaits();
  #post: (message: FromEngine) => void = () => {};
  #stepNumber = 0;
  /** The sequences of the last run. */
  #lastRun: readonly SequenceId[] = [];
  #isDraining = false;
  #deadline: NodeJS.Timeout | undefined;
  #wake: () => void = () => {};

  constructor({ engine, adapters, limits = {} }: StepLoopOptions) {
    this.#engine = engine;
    this.#adapters = adapters;
    const { slotCount, maxSeqLength } = engine.info;
    const canAttach = (keys: readonly AdapterKey[]) =>
      engine.canAttach(keys.map((key) => this.#leasedWeights(key)));
    this.#scheduler = new Scheduler({ slotCount, maxSeqLength, canAttach, ...limits });
  }

  get model(): EngineModelInfo {
    return this.#engine.info;
  }

  /**
   * Posts `ready`, steps until it is drained, releases the engine. Rejects where the engine cannot
   * be trusted any more (a slot or an adapter that could not be moved): the process has to end.
   */
  async run(post: (message: FromEngine) => void): Promise<void> {
    this.#post = post;
    post({ type: 'ready', model: this.#engine.info });
    while (!this.#isDrained()) {
      const step = this.#scheduler.next();
      if (step) this.#publish(await this.#runStep(step), { ran: true });
      else await this.#idle();
      await nextTurn();
    }
    clearTimeout(this.#deadline);
    await this.#engine.release();
  }

  handle(message: ToEngine): void {
    switch (message.type) {
      case 'submit':
        this.#submit(message);
        break;
      case 'abort':
        this.#publish(this.#scheduler.abort(message.id));
        break;
      case 'prefetch':
        void this.#prefetch(message);
        break;
      case 'stats':
        this.#post({ type: 'stats', stats: this.#stats() });
        break;
      case 'drain':
        this.#drain(message.deadlineMs);
        break;
      default:
        assertNever(message);
    }
    this.#wake();
  }

  #submit({ id, tenant, weight, adapter, request }: SubmitMessage): void {
    try {
      if (this.#isDraining) throw shuttingDown();
      const { vocabSize } = this.#engine.info;
      const sampler = createSampler(request.sampling, {
        promptIds: penalizedIds(request),
        vocabSize,
      });
      const init = { id, tenant, weight, adapter: adapter?.digest, request, sampler };
      this.#scheduler.submit(createSequence(init));
    } catch (error) {
      this.#publish([{ type: 'failed', id, error: this.#toServeError(error).toPlain() }]);
      return;
    }
    if (adapter) void this.#load(id, adapter);
    else this.#publish([{ type: 'accepted', id }]);
  }

  /** Never rejects. Wait and lease end with the sequence, which may have ended meanwhile. */
  async #load(id: SequenceId, source: AdapterSource): Promise<void> {
    try {
      const lease = await this.#adapters.lease(source, { signal: this.#waits.start(id) });
      this.#waits.end(id);
      if (!this.#scheduler.isLive(id)) {
        lease.release();
        return;
      }
      this.#leases.set(id, lease);
      await this.#engine.prepareFor(lease.weights);
      if (!this.#scheduler.isLive(id)) return;
      const { tier, loadMs } = lease;
      const isAttached = this.#scheduler.isAttached(source.digest);
      this.#publish([{ type: 'accepted', id, tier: isAttached ? 'slot' : tier, loadMs }]);
      this.#scheduler.adapterReady(id);
    } catch (error) {
      if (this.#scheduler.isLive(id)) {
        this.#publish(this.#scheduler.fail(id, this.#toAdapterError(error)));
      }
    }
    this.#wake();
  }

  /** Never rejects: whoever asked is told. */
  async #prefetch({ id, adapter, keepWarmMs }: PrefetchMessage): Promise<void> {
    const post = (outcome: PrefetchOutcome) => this.#post({ type: 'prefetched', id, outcome });
    try {
      const lease = await this.#adapters.lease(adapter, { keepWarmMs });
      try {
        await this.#engine.prepareFor(lease.weights);
      } finally {
        lease.release();
      }
      const { tier, loadMs } = lease;
      post({ tier: this.#scheduler.isAttached(adapter.digest) ? 'slot' : tier, loadMs });
    } catch (error) {
      post({ error: this.#toAdapterError(error).toPlain() });
    }
  }

  async #runStep(step: Step): Promise<EngineEvent[]> {
    this.#publish(step.admitted.map((id) => ({ type: 'admitted', id })));
    for (const { from, to, length } of step.moves) await this.#engine.moveSlot(from, to, length);
    for (const key of step.detach) await this.#engine.detachAdapter(key);
    const prefills: RunOutcome[] = [];
    for (const prefill of step.prefills) prefills.push(await this.#runPrefill(prefill));
    const decode = step.decode && (await this.#runBatch(step.decode, step.decodeIds));
    return this.#scheduler.settle(step, { prefills, decode });
  }

  /** Where it fails, the adapter is not attached afterwards. */
  async #runPrefill({ id, batch, attach }: StepPrefill): Promise<RunOutcome> {
    if (attach === undefined) return this.#runBatch(batch, [id]);
    this.#announceRun([id]); // attaching may fail as badly as running
    try {
      await this.#engine.attachAdapter(this.#leasedWeights(attach));
    } catch (error) {
      return { error: this.#toServeError(error) };
    }
    const outcome = await this.#runBatch(batch, [id]);
    if ('error' in outcome) await this.#engine.detachAdapter(attach);
    return outcome;
  }

  /** A run that threw may have left anything in its slots: they are zeroed before anyone else's turn. */
  async #runBatch(batch: Batch, ids: readonly SequenceId[]): Promise<RunOutcome> {
    this.#announceRun(ids);
    try {
      return { result: await this.#engine.run(batch) };
    } catch (error) {
      const slots = batch.kind === 'prefill' ? [batch.slot] : [...batch.rows.keys()];
      for (const slot of slots) await this.#engine.zeroSlot(slot as SlotId);
      return { error: this.#toServeError(error) };
    }
  }

  /** If the process dies in this run, the server knows whose it was. */
  #announceRun(ids: readonly SequenceId[]): void {
    const last = this.#lastRun;
    if (ids.length === last.length && ids.every((id, i) => id === last[i])) return;
    this.#lastRun = ids;
    this.#post({ type: 'running', ids });
  }

  #leasedWeights(key: AdapterKey): AdapterWeights {
    for (const { weights } of this.#leases.values()) if (weights.digest === key) return weights;
    throw new ServeError('adapter_unavailable', 'The adapter changed while it was loaded.');
  }

  /** What is waiting is refused, what runs may end by the deadline. */
  #drain(deadlineMs: number): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#failAll(this.#scheduler.ids('waiting'));
    this.#deadline = setTimeout(() => {
      this.#failAll(this.#scheduler.ids('live'));
      this.#wake();
    }, deadlineMs);
  }

  #failAll(ids: readonly SequenceId[]): void {
    this.#publish(ids.flatMap((id) => this.#scheduler.fail(id, shuttingDown())));
  }

  #isDrained(): boolean {
    return this.#isDraining && this.#scheduler.ids('live').length === 0;
  }

  #publish(events: EngineEvent[], { ran } = { ran: false }): void {
    if (!ran && events.length === 0) return;
    this.#stepNumber++;
    this.#post({ type: 'step', step: this.#stepNumber, ran, events });
    for (const event of events) {
      if (!isTerminal(event)) continue;
      this.#waits.end(event.id);
      this.#leases.get(event.id)?.release();
      this.#leases.delete(event.id);
    }
  }

  #stats(): EngineStats {
    const { idleBytes, leasedBytes, idleCount, leasedCount, ...totals } = this.#adapters.stats();
    const bytes = idleBytes + leasedBytes;
    return {
      ...this.#scheduler.stats(),
      slotCount: this.#engine.info.slotCount,
      residentAdapters: this.#adapters.resident(),
      adapterCacheBytes: bytes,
      adapterCache: { ...totals, bytes, adapters: idleCount + leasedCount },
      residentMemoryBytes: process.memoryUsage.rss(),
    };
  }

  /** Resolves at the next message or loaded adapter. */
  #idle(): Promise<void> {
    this.#announceRun([]);
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #toServeError(error: unknown): ServeError {
    if (error instanceof ServeError) return error;
    this.#logError('the engine failed', error);
    return new ServeError('internal_error', 'The engine failed.', { cause: error });
  }

  #toAdapterError(error: unknown): ServeError {
    if (error instanceof ServeError) return error;
    this.#logError('an adapter could not be made ready', error);
    return new ServeError('adapter_unavailable', 'The adapter could not be loaded.');
  }

  #logError(message: string, error: unknown): void {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#post({ type: 'log', level: 'error', message, fields: { reason } });
  }
}

/**
 * The prompt's tokens that a repetition penalty counts. A chat's prompt holds the token that ends a turn, and to
 * penalize that one would make every answer longer.
 */
function penalizedIds({ promptIds, stopTokenIds }: GenerationRequest): readonly number[] {
  return promptIds.filter((id) => !stopTokenIds.includes(id));
}

function shuttingDown(): ServeError {
  return new ServeError('overloaded', 'The server is shutting down.');
}

/** Lets messages in between two steps, also where an engine answers without leaving this turn. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
