// The server's interface to the engine: sequences go in, events come out. Each sequence gets exactly one terminal event, even
// if the engine crashes. Carries token ids only, and works with an engine in any process.

import type { LeaseOptions } from '../../adapters/cache/cache.ts';
import { deadlineError, ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, type Resolvers, systemClock, withResolvers } from '../common/waiting.ts';
import type { EngineInfo, EngineStats } from '../contracts/engine.ts';
import type {
  AdapterSource,
  GenerationRequest,
  Prefetched,
  RequestTime,
} from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';
import type {
  ChannelHandlers,
  EngineChannel,
  EngineEvent,
  EngineState,
  FromEngine,
  PrefetchId,
  SequenceId,
} from '../scheduler/protocol.ts';
import { needsLoading } from '../scheduler/sequence.ts';
import {
  Admission,
  type AdmissionLimits,
  DEFAULT_ADMISSION,
  IDLE_ADMISSION,
  type Waiting,
} from './admission.ts';
import { Pause } from './pause.ts';
import { type InFlight, Quarantine, type Suspect } from './quarantine.ts';
import type { Served } from './recent-service.ts';
import { Supervisor, type SupervisorOptions } from './supervisor.ts';
import { hasSlot, type SequencePhase, type WaitReason, waitReason } from './wait-reason.ts';

/** Receives the events of one sequence. */
export type EngineListener = (event: EngineEvent) => void;

/** The known facts about a request that has no sequences yet. */
interface QueueEntry extends Pick<Waiting, 'maxTokens' | 'time'> {
  readonly tenant: Pick<TenantShare, 'id' | 'weight' | 'isIdle'>;
}

/** A submitted sequence. */
export interface SequenceHandle {
  readonly id: SequenceId;
  /** Ends the sequence within a step, with `finished: abort`. Does nothing if the sequence has ended. */
  abort(): void;
}

/** Starts an engine in a supervised child process. */
export function createProcessClient({
  admission,
  ...options
}: SupervisorOptions & { admission?: AdmissionLimits }): EngineClient {
  const connect = (handlers: ChannelHandlers) => new Supervisor(options, handlers);
  return new EngineClient(connect, options.log, admission, options.clock);
}

/** A sequence that has not ended. */
interface LiveSequence extends Suspect, Waiting {
  readonly listener: EngineListener;
  /** Whether it has been sent to the engine. */
  readonly isAdmitted: boolean;
  phase: SequencePhase;
  /** When it got its slot, in monotonic milliseconds. */
  startedAtMs: number;
  tokens: number;
}

/** Submits sequences over a channel and delivers their events. */
export class EngineClient {
  /** Adapters and requests that are refused because the engine crashed while running them. */
  readonly quarantine: Quarantine;
  readonly pause: Pause;
  readonly #channel: EngineChannel;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #admission: Admission;
  /** Idle sequences are counted separately, because others never wait for them. */
  readonly #idleAdmission: Admission;
  readonly #live = new Map<SequenceId, LiveSequence>();
  #lastId = 0;
  /** The sequences of the engine's current run. Empty while the engine is idle. */
  #runningIds: readonly SequenceId[] = [];
  /** The sequences that may have crashed the previous engine. */
  #suspects: readonly InFlight[] = [];
  /** The current engine's last step. A gap means that events were lost. */
  #lastStep = 0;
  /** All callers share one pending question, so that a silent engine costs no memory. */
  #statsQuestion: (Resolvers<EngineStats> & { readonly askedMs: number }) | undefined;
  #lastStats: EngineStats | undefined;
  #lastPrefetch = 0;
  readonly #pendingPrefetches = new Map<PrefetchId, Resolvers<Prefetched>>();

  constructor(
    connect: (handlers: ChannelHandlers) => EngineChannel,
    log: Logger,
    admission: AdmissionLimits = DEFAULT_ADMISSION,
    clock: Pick<Clock, 'now' | 'schedule'> = systemClock,
  ) {
    const { now } = clock;
    this.#log = log;
    this.#now = now;
    this.quarantine = new Quarantine(now);
    const slots = () => this.model!;
    this.#admission = new Admission({ limits: admission, slots, now });
    this.#idleAdmission = new Admission({ limits: IDLE_ADMISSION, slots, now });
    this.pause = new Pause(
      (isPaused) => this.#channel.send({ type: 'pause', isPaused }),
      clock,
      log,
    );
    this.#channel = connect({
      onMessage: (message) => this.#receive(message),
      onStuck: () => this.quarantine.crashed(this.#sequencesInFailedStep()),
      onLost: () => this.#onLost(),
      onCrashed: () => this.quarantine.crashed(this.#suspects),
      isWaiting: () =>
        !this.pause.isOn && [...this.#live.values()].some(({ phase }) => phase !== 'loading'),
    });
  }

  get state(): EngineState {
    return this.#channel.state;
  }

  /** The engine's model. Undefined until the engine has been ready once. */
  get model(): EngineInfo | undefined {
    return this.#channel.model;
  }

  /** False while a ready engine is suspended, or while its run takes far longer than earlier runs of that size. */
  get isProgressing(): boolean {
    return this.#channel.isProgressing;
  }

  /** Resolves once the engine is ready (again). Rejects if the engine refused its options or was stopped. */
  whenReady(): Promise<EngineInfo> {
    return this.#channel.whenReady();
  }

  /**
   * Throws `ServeError` if the engine is not ready, if the tenant's share of the queue is full, or if the request would
   * probably miss its deadline.
   */
  requireRoom(entry: QueueEntry): void {
    const refusal = this.#refusal(toWaiting(entry));
    if (refusal) throw refusal;
  }

  /**
   * Reserves a queue entry for a request that is not ready to be submitted, until the result is disposed of. Otherwise all
   * requests that arrive while one entry is free would be prepared, only for all but one to be refused. Throws like
   * `requireRoom`.
   */
  reserve(entry: QueueEntry): Disposable {
    this.requireRoom(entry);
    const waiting = toWaiting(entry);
    const admission = this.#admissionOf(waiting);
    admission.enter(waiting);
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (isHeld) admission.leave(waiting);
        isHeld = false;
      },
    };
  }

  /**
   * Submits a sequence, which runs on the base if `adapter` is absent. Never throws: a refusal is a `failed` event. The
   * listener is called later, in order, and never after a terminal event. A sequence that would probably exceed its `time` is
   * refused, or fails with `deadline_exceeded` before it gets a slot. The caller aborts a running sequence that takes too long.
   */
  submit(
    payer: TenantShare,
    adapter: AdapterSource | undefined,
    request: GenerationRequest,
    listener: EngineListener,
    time?: RequestTime,
  ): SequenceHandle {
    this.#lastId++;
    const id = this.#lastId as SequenceId;
    const suspect: Suspect = { adapter: adapter?.digest, request };
    const { promptIds, maxTokens } = request;
    const waiting = toWaiting({ tenant: payer, maxTokens, time }, promptIds.length);
    const refusal = this.#refusal(waiting) ?? this.quarantine.refusal(suspect);
    const phase = needsLoading(suspect) ? 'loading' : 'waiting';
    const progress = { phase, startedAtMs: 0, tokens: 0 } as const;
    this.#live.set(id, { ...suspect, ...waiting, listener, ...progress, isAdmitted: !refusal });
    if (refusal) queueMicrotask(() => this.#fail(id, refusal));
    else {
      this.#admissionOf(waiting).enter(waiting);
      const tenant = pickShare(payer);
      this.#channel.send({ type: 'submit', id, tenant, ...(adapter && { adapter }), request });
    }
    return {
      id,
      abort: () => {
        if (!refusal && this.#live.has(id)) this.#channel.send({ type: 'abort', id });
      },
    };
  }

  /** Returns why a sequence of this tenant waits for a slot, if one does. */
  waitReason(tenant: string): WaitReason {
    if (this.pause.isOn) return 'paused';
    return waitReason(tenant, [...this.#live.values()], this.model?.slotCount ?? 0);
  }

  /** The latest figures that the current engine has reported. */
  get lastStats(): EngineStats | undefined {
    return this.#lastStats;
  }

  /** Asks the engine for its figures. Rejects with `ServeError` `engine_restarting` if the engine is not ready. */
  stats(): Promise<EngineStats> {
    if (this.state !== 'ready') return Promise.reject(this.#unavailable());
    if (this.#statsQuestion) return this.#statsQuestion.promise;
    const question = { ...withResolvers<EngineStats>(), askedMs: this.#now() };
    this.#statsQuestion = question;
    this.#channel.send({ type: 'stats' });
    return question.promise;
  }

  /** How long the current question for figures has gone unanswered, in ms. 0 if there is none. */
  get statsUnansweredMs(): number {
    return this.#statsQuestion ? this.#now() - this.#statsQuestion.askedMs : 0;
  }

  /**
   * Loads an adapter ahead of its first request. An engine that starts answers once it is ready. For `keepWarmMs`, it is evicted only after other adapters (0: no preference).
   * `tenant` is charged for the memory; without one, the adapter's owner is. Rejects with a `ServeError` that says what is
   * wrong with the adapter, or with `engine_restarting`.
   */
  prefetch(
    adapter: AdapterSource,
    { keepWarmMs = 0, tenant }: Omit<LeaseOptions, 'signal'> = {},
  ): Promise<Prefetched> {
    const { state } = this;
    if (state !== 'ready' && state !== 'starting') return Promise.reject(this.#unavailable());
    this.#lastPrefetch++;
    const id = this.#lastPrefetch as PrefetchId;
    const outcome = withResolvers<Prefetched>();
    this.#pendingPrefetches.set(id, outcome);
    const share = tenant && pickShare(tenant);
    this.#channel.send({ type: 'prefetch', id, adapter, keepWarmMs, tenant: share });
    return outcome.promise;
  }

  /** Ends the engine and starts another. Running and waiting sequences fail with `engine_restarting`. */
  restart(reason: string): void {
    this.#channel.restart(reason);
  }

  /** Refuses waiting sequences, lets running ones end until the deadline, and ends the engine. */
  drain(deadlineMs: number): Promise<void> {
    return this.#channel.drain(deadlineMs);
  }

  #receive(message: FromEngine): void {
    if (message.type === 'stats') {
      this.#lastStats = message.stats;
      this.#statsQuestion?.resolve(message.stats);
      this.#statsQuestion = undefined;
    }
    if (message.type === 'prefetched') this.#onPrefetched(message);
    if (message.type === 'running') this.#runningIds = message.ids;
    if (message.type !== 'step') return;
    if (message.step !== this.#lastStep + 1) {
      this.#channel.kill(`step ${message.step} came after step ${this.#lastStep}`);
      return;
    }
    this.#lastStep = message.step;
    for (const event of message.events) this.#deliver(event);
    if (message.ran) this.#endLate();
  }

  /** Ends waiting sequences whose time is over before the next step gives them slots. */
  #endLate(): void {
    for (const [id, live] of this.#live) {
      if (live.phase !== 'waiting' || !this.#admissionOf(live).isLate(live)) continue;
      this.#channel.send({ type: 'abort', id });
      this.#fail(id, deadlineError(live.time!));
    }
  }

  #onPrefetched({ id, outcome }: Extract<FromEngine, { type: 'prefetched' }>): void {
    const pending = this.#pendingPrefetches.get(id);
    this.#pendingPrefetches.delete(id);
    if ('error' in outcome) pending?.reject(ServeError.fromPlain(outcome.error));
    else pending?.resolve(outcome);
  }

  #onLost(): void {
    this.pause.forget();
    this.#lastStep = 0;
    this.#lastStats = undefined;
    this.#suspects = this.#sequencesInFailedStep();
    this.#runningIds = [];
    this.#statsQuestion?.reject(this.#unavailable());
    this.#statsQuestion = undefined;
    for (const { reject } of this.#pendingPrefetches.values()) reject(this.#unavailable());
    this.#pendingPrefetches.clear();
    for (const id of [...this.#live.keys()]) this.#fail(id, this.#unavailable());
    this.#admission.restarted();
    this.#idleAdmission.restarted();
  }

  /** The sequences of the current run. If the engine was idle, only a load can have failed. */
  #sequencesInFailedStep(): InFlight[] {
    const inRun = new Set(this.#runningIds);
    const isInStep = (id: SequenceId, { phase }: LiveSequence) =>
      inRun.size > 0 ? inRun.has(id) : phase === 'loading';
    return [...this.#live]
      .filter(([id, live]) => isInStep(id, live))
      .map(([, { adapter, request, phase }]) => ({ adapter, request, isNew: phase !== 'running' }));
  }

  #fail(id: SequenceId, error: ServeError): void {
    this.#deliver({ type: 'failed', id, error: error.toPlain() });
  }

  /** Returns the reason that the engine cannot take a sequence now, if there is one. */
  #refusal(waiting: Waiting): ServeError | undefined {
    if (this.state !== 'ready') return this.#unavailable();
    return this.#admissionOf(waiting).refusal(waiting);
  }

  #admissionOf({ isIdle }: Pick<Waiting, 'isIdle'>): Admission {
    return isIdle ? this.#idleAdmission : this.#admission;
  }

  #unavailable(): ServeError {
    return this.state === 'stopped'
      ? new ServeError('overloaded', 'The server is shutting down. Try again.')
      : new ServeError('engine_restarting', 'The engine is restarting. Try again.');
  }

  /** If a listener throws, the others still get their events. */
  #deliver(event: EngineEvent): void {
    const live = this.#live.get(event.id);
    if (!live) return;
    this.#updatePhase(live, event);
    try {
      live.listener(event);
    } catch (error) {
      this.#log.error({ err: error, id: event.id }, 'an engine event listener failed');
    }
  }

  /**
   * Returns the service that a sequence got, for later estimates, or undefined if it failed. An abort counts, because a stop
   * string ends a sequence by one.
   */
  #served(
    { tenant, startedAtMs, tokens, request, time }: LiveSequence,
    { type }: EngineEvent,
  ): Served | undefined {
    if (type === 'failed') return undefined;
    const nowMs = this.#now();
    const isCutOff = time !== undefined && nowMs >= time.endsAtMs;
    const { maxTokens } = request;
    return { tenant, ms: nowMs - startedAtMs, tokens, maxTokens, isCutOff };
  }

  #updatePhase(live: LiveSequence, event: EngineEvent): void {
    if (event.type === 'finished' || event.type === 'failed') {
      this.#live.delete(event.id);
      const admission = this.#admissionOf(live);
      if (hasSlot(live.phase)) admission.end(live.tenant, this.#served(live, event));
      else if (live.isAdmitted) admission.leave(live);
      const isServed = event.type === 'finished' && live.phase === 'running';
      if (isServed && live.adapter !== undefined) this.quarantine.served(live.adapter);
    } else if (event.type === 'token') {
      live.tokens++;
      live.phase = live.phase === 'joining' ? 'prefilled' : 'running';
    } else {
      if (event.type === 'admitted') {
        live.startedAtMs = this.#now();
        this.#admissionOf(live).start(live);
      }
      live.phase = event.type === 'accepted' ? 'waiting' : 'joining';
    }
  }
}

/** Picks the parts of a tenant that the engine needs. */
function pickShare({ id, weight, adapterCache, isIdle }: TenantShare): TenantShare {
  return { id, weight, adapterCache, ...(isIdle && { isIdle }) };
}

function toWaiting({ tenant, ...rest }: QueueEntry, promptTokens = 1): Waiting {
  const { id, weight, isIdle } = tenant;
  return { tenant: id, weight, isIdle, promptTokens, ...rest };
}
