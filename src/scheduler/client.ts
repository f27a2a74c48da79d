// The server's side of the engine: submit, and events come. Each sequence gets exactly one terminal
// event, whatever happens to the engine. Knows no HTTP and no text; does not know how the engine runs.

import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { AdapterSource } from '../contracts/adapter-source.ts';
import type { GenerationRequest } from '../contracts/generation.ts';
import type { TenantShare } from '../contracts/tenant.ts';
import type { ChannelHandlers, EngineChannel, EngineState } from './channel.ts';
import { InProcessChannel } from './in-process-channel.ts';
import type {
  EngineEvent,
  EngineModelInfo,
  EngineStats,
  FromEngine,
  Prefetched,
  PrefetchId,
  SequenceId,
} from './protocol.ts';
import { type InFlight, Quarantine, type Suspect } from './quarantine.ts';
import type { StepLoop } from './step-loop.ts';
import { Supervisor, type SupervisorOptions } from './supervisor.ts';

export type EngineListener = (event: EngineEvent) => void;

export interface SequenceHandle {
  readonly id: SequenceId;
  /** Ends the sequence within a step, with `finished: abort`; after its end without effect. */
  abort(): void;
}

export interface EngineClient {
  readonly state: EngineState;
  /** Known once the engine was ready. */
  readonly model: EngineModelInfo | undefined;
  /** False while a ready engine is stopped, or its step takes far longer than its steps do. */
  readonly isProgressing: boolean;
  /** What is refused because the engine crashed with it. */
  readonly quarantine: Pick<Quarantine, 'list' | 'release' | 'clear'>;
  /** Resolves once the engine is ready (again); rejects where it refused its options or is stopped. */
  whenReady(): Promise<EngineModelInfo>;
  /**
   * Never throws: a refusal is a `failed` event, too. The listener is called later, in order, and
   * never after a terminal event. Without `adapter` the base runs.
   */
  submit(
    tenant: TenantShare,
    adapter: AdapterSource | undefined,
    request: GenerationRequest,
    listener: EngineListener,
  ): SequenceHandle;
  /**
   * Loads an adapter before it is asked for; others are evicted before it until `keepWarmMs` are over (0: no longer
   * than any). Rejects with `ServeError`: what is wrong with the adapter, or `engine_restarting`.
   */
  prefetch(adapter: AdapterSource, options?: { keepWarmMs?: number }): Promise<Prefetched>;
  /** Rejects with `ServeError` `engine_restarting` where the engine is not ready. */
  stats(): Promise<EngineStats>;
  /** Ends the engine and starts another: what runs and waits fails with `engine_restarting`. */
  restart(reason: string): void;
  /** Refuses what waits, lets what runs end until the deadline, and ends the engine. */
  drain(deadlineMs: number): Promise<void>;
}

/** An engine in a supervised child process. */
export function createProcessClient(options: SupervisorOptions): EngineClient {
  const connect = (handlers: ChannelHandlers) => new Supervisor(options, handlers);
  return new ChannelClient(connect, options.log);
}

/** The same objects in this process; starts the loop. */
export function createInProcessClient(loop: StepLoop, log: Logger): EngineClient {
  return new ChannelClient((handlers) => new InProcessChannel(loop, log, handlers), log);
}

interface Waiter<T> {
  resolve: (value: T) => void;
  reject: (error: ServeError) => void;
}

/** A sequence that has not ended. */
interface Live extends Suspect {
  readonly listener: EngineListener;
  phase: Phase;
}

/**
 * `loading`: its adapter is being loaded, which is no step's work; `joining`: in a slot, without a token yet;
 * `prefilled`: no step has decoded it yet.
 */
type Phase = 'loading' | 'waiting' | 'joining' | 'prefilled' | 'running';

class ChannelClient implements EngineClient {
  readonly #channel: EngineChannel;
  readonly #log: Logger;
  readonly quarantine = new Quarantine();
  readonly #live = new Map<SequenceId, Live>();
  /** How many of them are `loading`. */
  #loadingCount = 0;
  #lastId = 0;
  /** The sequences of the engine's run; none while it is idle. */
  #runningIds: readonly SequenceId[] = [];
  /** What may have brought down the engine that was lost. */
  #suspects: readonly InFlight[] = [];
  /** Of this engine; a gap means that events are lost. */
  #lastStep = 0;
  #statsWaiters: Waiter<EngineStats>[] = [];
  #lastPrefetch = 0;
  readonly #prefetches = new Map<PrefetchId, Waiter<Prefetched>>();

  constructor(connect: (handlers: ChannelHandlers) => EngineChannel, log: Logger) {
    this.#log = log;
    this.#channel = connect({
      onMessage: (message) => this.#receive(message),
      onLost: () => this.#onLost(),
      onCrashed: () => this.quarantine.crashed(this.#suspects),
      isWaiting: () => this.#live.size > this.#loadingCount,
    });
  }

  get state(): EngineState {
    return this.#channel.state;
  }

  get model(): EngineModelInfo | undefined {
    return this.#channel.model;
  }

  get isProgressing(): boolean {
    return this.#channel.isProgressing;
  }

  whenReady(): Promise<EngineModelInfo> {
    return this.#channel.whenReady();
  }

  submit(
    { id: tenant, weight }: TenantShare,
    adapter: AdapterSource | undefined,
    request: GenerationRequest,
    listener: EngineListener,
  ): SequenceHandle {
    this.#lastId++;
    const id = this.#lastId as SequenceId;
    const suspect: Suspect = { adapter: adapter?.digest, request };
    this.#live.set(id, { ...suspect, listener, phase: adapter ? 'loading' : 'waiting' });
    if (adapter) this.#loadingCount++;
    const refusal = this.state === 'ready' ? this.quarantine.refusal(suspect) : this.#unavailable();
    if (refusal) queueMicrotask(() => this.#fail(id, refusal));
    else {
      const of = { tenant, weight, ...(adapter && { adapter }) };
      this.#channel.send({ type: 'submit', id, ...of, request });
    }
    return {
      id,
      abort: () => {
        if (!refusal && this.#live.has(id)) this.#channel.send({ type: 'abort', id });
      },
    };
  }

  stats(): Promise<EngineStats> {
    if (this.state !== 'ready') return Promise.reject(this.#unavailable());
    const stats = new Promise<EngineStats>((resolve, reject) => {
      this.#statsWaiters.push({ resolve, reject });
    });
    this.#channel.send({ type: 'stats' });
    return stats;
  }

  prefetch(
    adapter: AdapterSource,
    { keepWarmMs = 0 }: { keepWarmMs?: number } = {},
  ): Promise<Prefetched> {
    if (this.state !== 'ready') return Promise.reject(this.#unavailable());
    this.#lastPrefetch++;
    const id = this.#lastPrefetch as PrefetchId;
    const prefetched = new Promise<Prefetched>((resolve, reject) => {
      this.#prefetches.set(id, { resolve, reject });
    });
    this.#channel.send({ type: 'prefetch', id, adapter, keepWarmMs });
    return prefetched;
  }

  restart(reason: string): void {
    this.#channel.restart(reason);
  }

  drain(deadlineMs: number): Promise<void> {
    return this.#channel.drain(deadlineMs);
  }

  #receive(message: FromEngine): void {
    if (message.type === 'stats') this.#statsWaiters.shift()?.resolve(message.stats);
    if (message.type === 'prefetched') this.#onPrefetched(message);
    if (message.type === 'running') this.#runningIds = message.ids;
    if (message.type !== 'step') return;
    if (message.step !== this.#lastStep + 1) {
      this.#channel.distrust(`step ${message.step} came after step ${this.#lastStep}`);
      return;
    }
    this.#lastStep = message.step;
    for (const event of message.events) this.#deliver(event);
  }

  #onPrefetched({ id, outcome }: Extract<FromEngine, { type: 'prefetched' }>): void {
    const waiter = this.#prefetches.get(id);
    this.#prefetches.delete(id);
    if ('error' in outcome) waiter?.reject(ServeError.fromPlain(outcome.error));
    else waiter?.resolve(outcome);
  }

  #onLost(): void {
    this.#lastStep = 0;
    this.#suspects = this.#inFailingStep();
    this.#runningIds = [];
    const waiters = [...this.#statsWaiters, ...this.#prefetches.values()];
    this.#statsWaiters = [];
    this.#prefetches.clear();
    for (const { reject } of waiters) reject(this.#unavailable());
    for (const id of [...this.#live.keys()]) this.#fail(id, this.#unavailable());
  }

  /** The run's sequences. If the engine was idle, only the loading of an adapter can have failed. */
  #inFailingStep(): InFlight[] {
    const inRun = new Set(this.#runningIds);
    const isInStep = (id: SequenceId, { phase }: Live) =>
      inRun.size > 0 ? inRun.has(id) : phase === 'loading';
    return [...this.#live]
      .filter(([id, live]) => isInStep(id, live))
      .map(([, { adapter, request, phase }]) => ({ adapter, request, isNew: phase !== 'running' }));
  }

  #fail(id: SequenceId, error: ServeError): void {
    this.#deliver({ type: 'failed', id, error: error.toPlain() });
  }

  #unavailable(): ServeError {
    return this.state === 'stopped'
      ? new ServeError('overloaded', 'The server is shutting down.')
      : new ServeError('engine_restarting', 'The engine is restarting.');
  }

  /** A listener that throws must not cost the others their events. */
  #deliver(event: EngineEvent): void {
    const live = this.#live.get(event.id);
    if (!live) return;
    this.#follow(live, event);
    try {
      live.listener(event);
    } catch (error) {
      this.#log.error({ err: error, id: event.id }, 'a listener of engine events failed');
    }
  }

  #follow(live: Live, event: EngineEvent): void {
    if (live.phase === 'loading') this.#loadingCount--; // the first event accepts, or ends
    if (event.type === 'finished' || event.type === 'failed') {
      this.#live.delete(event.id);
      const isServed = event.type === 'finished' && live.phase === 'running';
      if (isServed && live.adapter !== undefined) this.quarantine.served(live.adapter);
    } else if (event.type === 'token') {
      live.phase = live.phase === 'joining' ? 'prefilled' : 'running';
    } else {
      live.phase = event.type === 'accepted' ? 'waiting' : 'joining';
    }
  }
}
