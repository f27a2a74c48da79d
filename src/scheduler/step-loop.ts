// The loop of the engine process: messages in, steps on the engine, events out. Callers provide the channel; the scheduler
// chooses batches, and the engine runs them.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lease } from '../../adapters/cache/cache.ts';
import { assertNever } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { type EngineInfo, type EngineStats, NO_PREFIX_CACHE } from '../contracts/engine.ts';
import type { AdapterSource, GenerationRequest, Prefetched } from '../contracts/generation.ts';
import type { AdapterKey } from '../engine/batch.ts';
import { Pooler } from '../engine/pooler.ts';
import type { PrefixChain } from '../engine/prefix/prefix-cache.ts';
import { createSampler } from '../engine/sampling/sampler.ts';
import { Drafter } from './drafter.ts';
import { type AdapterLeases, SequenceLeases } from './leases.ts';
import type { StepEngine, StepLoopOptions } from './options.ts';
import type { EngineEvent, FromEngine, PrefetchOutcome, SequenceId, ToEngine } from './protocol.ts';
import { Scheduler } from './scheduler.ts';
import {
  type AdapterStart,
  adapterStart,
  checkTokens,
  createSequence,
  isTerminal,
  matchClassifier,
  needsLoading,
  penalizedIds,
  type Sequence,
} from './sequence.ts';
import type { StepPlan } from './step-plan.ts';
import { StepRunner } from './step-runner.ts';

/** Without a request for this long, the engine prepares for further adapters. Doing so slows a request that comes meanwhile. */
const QUIET_MS = 500;

const noop = () => {};

/** Above this temperature, tokens are too random to guess. */
const MAX_DRAFT_TEMPERATURE = 1;

type SubmitMessage = Extract<ToEngine, { type: 'submit' }>;
/** A sequence that cannot run yet, and what it waits for. */
type Loading = SubmitMessage & Pick<Sequence, 'sampler' | 'pooler'>;

type PrefetchMessage = Extract<ToEngine, { type: 'prefetch' }>;

/** Handles messages, and runs the scheduler's steps on the engine. */
export class StepLoop {
  readonly #engine: StepEngine;
  readonly #adapters: AdapterLeases;
  readonly #leases: SequenceLeases;
  readonly #scheduler: Scheduler;
  readonly #clock: Clock;
  readonly #isInvariant: boolean;
  /** Whether more can be prepared ahead, and nothing is being prepared. */
  #canPrepare = true;
  readonly #create: Pick<StepLoopOptions, 'createProposer' | 'createMatcher' | 'createBan'>;
  #post: (message: FromEngine) => void = () => {};
  #stepNumber = 0;
  readonly #runner: StepRunner;
  #isDraining = false;
  #isPaused = false;
  #cancelDeadline = () => {};
  #wake: () => void = () => {};

  constructor({ engine, adapters, limits = {}, isInvariant = false, ...rest }: StepLoopOptions) {
    const { clock, ...create } = rest;
    this.#isInvariant = isInvariant;
    this.#engine = engine;
    this.#adapters = adapters;
    this.#create = create;
    this.#clock = clock ?? systemClock;
    this.#leases = new SequenceLeases(adapters, this.#clock);
    this.#runner = new StepRunner({
      engine,
      post: (message) => this.#post(message),
      weights: (key) => this.#leases.weights(key),
      toServeError: (error) => this.#toServeError(error),
    });
    const { slotCount, maxSeqLength } = engine.info;
    const canAttach = (keys: readonly AdapterKey[]) =>
      engine.canAttach(keys.map((key) => this.#leases.weights(key)));
    const { prefixes } = engine;
    const countCachedTokens = (prefix: PrefixChain) => prefixes?.cachedTokens(prefix) ?? 0;
    const { now } = this.#clock;
    const engineLimits = { slotCount, maxSeqLength, canAttach, countCachedTokens, now };
    this.#scheduler = new Scheduler({ ...engineLimits, ...limits });
  }

  get model(): EngineInfo {
    return this.#engine.info;
  }

  /**
   * Posts `ready`, runs steps until the loop is drained, and releases the engine. Rejects if a slot could not be moved or an
   * adapter not detached: the engine's state is then unknown, and the process must end.
   */
  async run(post: (message: FromEngine) => void): Promise<void> {
    this.#post = post;
    post({ type: 'ready', model: this.#engine.info });
    while (!this.#isDrained()) {
      this.#changePrefixes();
      const plan = this.#isPaused ? undefined : this.#scheduler.next();
      if (plan) this.#publish(await this.#runStep(plan), { ran: true });
      else {
        const cancel = this.#canPrepare ? this.#clock.schedule(QUIET_MS, this.#prepareAhead) : noop;
        await this.#idle();
        cancel();
      }
      await nextTurn(); // lets messages in, even if the engine responds within this turn
    }
    this.#cancelDeadline();
    await this.#engine.release();
  }

  /** Prepares a piece of what adapters will need from the engine. */
  readonly #prepareAhead = (): void => {
    this.#canPrepare = false;
    const next = (isMore: boolean) => {
      this.#canPrepare = isMore;
      this.#wake();
    };
    this.#engine.prepareAhead().then(next, noop); // the request that needs it will report the error
  };

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
      case 'pause':
        this.#isPaused = message.isPaused;
        break;
      case 'terminate':
        this.#runner.terminate();
        break;
      case 'drain':
        this.#drain(message.deadlineMs);
        break;
      default:
        assertNever(message);
    }
    this.#wake();
  }

  #submit(message: SubmitMessage): void {
    const { id, tenant: payer, adapter, request } = message;
    const { sampling, stopTokenIds } = request;
    const sampler = createSampler(sampling, { promptIds: penalizedIds(request), stopTokenIds });
    const pooler = request.pooling && new Pooler(request.pooling);
    try {
      if (this.#isDraining) throw shuttingDown();
      if (!adapter) checkTokens(request, this.#engine.info.vocabSize);
      const drafter = this.#createDrafter(request);
      const prefix = this.#prefixOf(adapter, request);
      const tenant = { tenant: payer.id, weight: payer.weight, isIdle: payer.isIdle };
      const tools = { sampler, drafter, prefix, pooler };
      const isInvariant = this.#isInvariant;
      const init = { id, ...tenant, adapter: adapter?.digest, request, isInvariant, ...tools };
      this.#scheduler.submit(createSequence(init));
    } catch (error) {
      this.#publish([{ type: 'failed', id, error: this.#toServeError(error).toPlain() }]);
      return;
    }
    if (needsLoading({ adapter: adapter?.digest, request })) {
      void this.#load({ ...message, sampler, pooler });
    } else this.#publish([{ type: 'accepted', id }]);
  }

  #createDrafter(request: GenerationRequest): Drafter | undefined {
    const { createProposer } = this.#create;
    if (!createProposer || request.maxTokens === 0) return;
    if (request.sampling.temperature > MAX_DRAFT_TEMPERATURE) return;
    return new Drafter(createProposer(request));
  }

  #prefixOf(
    adapter: AdapterSource | undefined,
    { promptIds, prefixScope: scope, promptTopLogprobs, pooling }: GenerationRequest,
    adapterFrom = 0,
  ): PrefixChain | undefined {
    // Both need the output of every prompt token.
    if (promptTopLogprobs !== undefined || pooling === 'mean') return undefined;
    if (scope === undefined) return undefined;
    return this.#engine.prefixes?.chainOf({ adapter, scope, adapterFrom }, promptIds);
  }

  /** Returns the part of a prompt to which a leased adapter applies. */
  #startOf(adapter: AdapterSource, request: GenerationRequest): AdapterStart {
    const { invocation } = this.#leases.weights(adapter.digest);
    if (!invocation) return {};
    const adapterFrom = adapterStart(request.promptIds, invocation);
    return { adapterFrom, prefix: this.#prefixOf(adapter, request, adapterFrom) };
  }

  /** Never rejects. The sequence may end meanwhile. */
  async #load(loading: Loading): Promise<void> {
    const { id, adapter, sampler, pooler } = loading;
    try {
      // The grammar comes first: if it is refused, the adapter is not loaded for nothing.
      const { constraint, badWords, addedTokens } = loading.request;
      if (badWords) sampler.ban(await this.#create.createBan!(badWords, addedTokens));
      if (constraint) {
        sampler.follow(
          await this.#create.createMatcher!(constraint, addedTokens, loading.tenant.id),
        );
      }
      if (!this.#scheduler.isLive(id)) return; // its adapter would stay leased forever
      const adapterUse = adapter ? await this.#loadAdapter(adapter, loading) : {};
      if (!adapter && pooler) await this.#engine.prepareEmbeddings();
      if (!adapterUse || !this.#scheduler.isLive(id)) return;
      this.#publish([{ type: 'accepted', id, ...adapterUse }]);
      this.#scheduler.loaded(id, adapter && this.#startOf(adapter, loading.request));
    } catch (error) {
      if (this.#scheduler.isLive(id)) {
        this.#publish(this.#scheduler.fail(id, this.#toAdapterError(error)));
      }
    }
    this.#wake();
  }

  /** Returns the adapter's tier and load time, or undefined if the sequence ended meanwhile. */
  async #loadAdapter(source: AdapterSource, loading: Loading): Promise<Prefetched | undefined> {
    const lease = await this.#leases.start(loading.id, source, loading.tenant);
    if (!lease) return undefined;
    matchClassifier(lease.weights, loading);
    const { own: ownVocabulary } = lease.weights.vocabulary;
    checkTokens(loading.request, ownVocabulary?.size ?? this.#engine.info.vocabSize);
    await this.#engine.prepareFor(lease.weights);
    if (loading.pooler) await this.#engine.prepareEmbeddings(lease.weights);
    return this.#loadedFrom(lease);
  }

  #loadedFrom({ tier, loadMs, weights }: Lease): Prefetched {
    return { tier: this.#scheduler.isAttached(weights.digest) ? 'slot' : tier, loadMs };
  }

  /** Never rejects: the outcome is posted. */
  async #prefetch({ id, adapter, keepWarmMs, tenant }: PrefetchMessage): Promise<void> {
    const post = (outcome: PrefetchOutcome) => this.#post({ type: 'prefetched', id, outcome });
    try {
      const lease = await this.#adapters.lease(adapter, { keepWarmMs, tenant });
      try {
        await this.#engine.prepareFor(lease.weights);
      } finally {
        lease.release();
      }
      post(this.#loadedFrom(lease));
    } catch (error) {
      post({ error: this.#toAdapterError(error).toPlain() });
    }
  }

  async #runStep(plan: StepPlan): Promise<EngineEvent[]> {
    const admitted = plan.admitted.map(
      ({ id, cachedTokens }) => ({ type: 'admitted', id, cachedTokens }) as const,
    );
    this.#publish([...plan.evicted, ...admitted]);
    for (const { from, to, length } of plan.moves) await this.#engine.moveSlot(from, to, length);
    for (const key of plan.detach) await this.#engine.detachAdapter(key);
    // The first token is sent without waiting for the step's later runs.
    for await (const outcomes of this.#runner.prefills(plan.prefills)) {
      this.#publish(outcomes.flatMap((one) => this.#scheduler.applyPrefill(plan, one)));
    }
    const decode = plan.decode && (await this.#runner.decode(plan.decode, plan.decodeIds));
    return this.#scheduler.applyResults(plan, decode);
  }

  /** Runs while slots are as the last step left them. Nothing else changes the cache, so the step finds what `next` found. */
  #changePrefixes(): void {
    const { prefixes } = this.#engine;
    for (const change of this.#scheduler.takePrefixChanges()) {
      if (change.type === 'save') prefixes?.save(change.prefix, change.tokenIds, change.slot);
      else prefixes?.forget(change.prefix);
    }
    const events = prefixes?.takeEvents() ?? [];
    if (events.length > 0) this.#post({ type: 'prefixes', events });
  }

  /** Refuses waiting sequences, and gives running ones until the deadline. */
  #drain(deadlineMs: number): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#isPaused = false;
    this.#failAll(this.#scheduler.ids('waiting'));
    this.#cancelDeadline = this.#clock.schedule(deadlineMs, () => {
      this.#failAll(this.#scheduler.ids('live'));
      this.#wake();
    });
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
      if (isTerminal(event)) this.#leases.end(event.id);
    }
  }

  #stats(): EngineStats {
    const cpu = process.cpuUsage();
    return {
      ...this.#scheduler.stats(),
      slotCount: this.#engine.info.slotCount,
      residentAdapters: this.#adapters.resident(),
      adapterCache: this.#adapters.stats(),
      prefixCache: this.#engine.prefixes?.stats() ?? NO_PREFIX_CACHE,
      residentMemoryBytes: process.memoryUsage.rss(),
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
    };
  }

  /** Resolves when a message arrives or an adapter is loaded. */
  #idle(): Promise<void> {
    this.#runner.idle();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #toServeError(error: unknown): ServeError {
    if (error instanceof ServeError) return error;
    this.#logError('the engine failed', error);
    return new ServeError('internal_error', ENGINE_FAILED, { cause: error });
  }

  #toAdapterError(error: unknown): ServeError {
    if (error instanceof ServeError) return error;
    this.#logError('an adapter could not be prepared', error);
    return new ServeError(
      'adapter_unavailable',
      'The adapter could not be loaded. Try again; the log of the server gives the reason.',
    );
  }

  #logError(message: string, error: unknown): void {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#post({ type: 'log', level: 'error', message, fields: { reason } });
  }
}

const ENGINE_FAILED = 'The engine failed. Try again; the log of the server gives the reason.';

function shuttingDown(): ServeError {
  return new ServeError('overloaded', 'The server is shutting down. Try again.');
}
