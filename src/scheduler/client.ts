// The server's side of the engine: submit, and events come. Each sequence gets exactly one terminal
// event, whatever happens to the engine. Knows no HTTP and no text; does not know how the engine runs.
import type { AdapterSource } from '../adapter-source.ts';
import { ServeError } from '../errors.ts';
import type { GenerationRequest } from '../generation.ts';
import type { Logger } from '../log.ts';
import type { TenantShare } from '../tenant.ts';
import type { ChannelHandlers, EngineChannel, EngineState } from './channel.ts';
import { InProcessChannel } from './in-process-channel.ts';
import type {
  EngineEvent,
  EngineModelInfo,
  EngineStats,
  FromEngine,
  SequenceId,
} from './protocol.ts';
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
  /** Rejects with `ServeError` `engine_restarting` where the engine is not ready. */
  stats(): Promise<EngineStats>;
  /** Refuses what waits, lets what runs end until the deadline, and ends the engine. */
  drain(deadlineMs: number): Promise<void>;
}

export type ProcessClientOptions = Omit<SupervisorOptions, 'entry'> &
  Partial<Pick<SupervisorOptions, 'entry'>>;

/** An engine in a supervised child process. */
export function createProcessClient(options: ProcessClientOptions): EngineClient {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const entry = new URL(`./engine-process.${extension}`, import.meta.url);
  const connect = (handlers: ChannelHandlers) => new Supervisor({ entry, ...options }, handlers);
  return new ChannelClient(connect, options.log);
}

/** The same objects in this process; starts the loop. */
export function createInProcessClient(loop: StepLoop, log: Logger): EngineClient {
  return new ChannelClient((handlers) => new InProcessChannel(loop, log, handlers), log);
}

interface StatsWaiter {
  resolve: (stats: EngineStats) => void;
  reject: (error: ServeError) => void;
}

class ChannelClient implements EngineClient {
  readonly #channel: EngineChannel;
  readonly #log: Logger;
  /** Of the sequences that have not ended. */
  readonly #listeners = new Map<SequenceId, EngineListener>();
  /** Those of them that are not accepted yet: their adapters are being loaded, which is no step's work. */
  readonly #loading = new Set<SequenceId>();
  #lastId = 0;
  /** Of this engine; a gap means that events are lost. */
  #lastStep = 0;
  #statsWaiters: StatsWaiter[] = [];

  constructor(connect: (handlers: ChannelHandlers) => EngineChannel, log: Logger) {
    this.#log = log;
    this.#channel = connect({
      onMessage: (message) => this.#receive(message),
      onLost: () => this.#onLost(),
      isWaiting: () => this.#listeners.size > this.#loading.size,
    });
  }

  get state(): EngineState {
    return this.#channel.state;
  }

  get model(): EngineModelInfo | undefined {
    return this.#channel.model;
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
    this.#listeners.set(id, listener);
    if (adapter) this.#loading.add(id);
    const isRefused = this.state !== 'ready';
    if (isRefused) queueMicrotask(() => this.#fail(id));
    else {
      const of = { tenant, weight, ...(adapter && { adapter }) };
      this.#channel.send({ type: 'submit', id, ...of, request });
    }
    return {
      id,
      abort: () => {
        if (!isRefused && this.#listeners.has(id)) this.#channel.send({ type: 'abort', id });
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

  drain(deadlineMs: number): Promise<void> {
    return this.#channel.drain(deadlineMs);
  }

  #receive(message: FromEngine): void {
    if (message.type === 'stats') this.#statsWaiters.shift()?.resolve(message.stats);
    if (message.type !== 'step') return;
    if (message.step !== this.#lastStep + 1) {
      this.#channel.distrust(`step ${message.step} came after step ${this.#lastStep}`);
      return;
    }
    this.#lastStep = message.step;
    for (const event of message.events) this.#deliver(event);
  }

  #onLost(): void {
    this.#lastStep = 0;
    const waiters = this.#statsWaiters;
    this.#statsWaiters = [];
    for (const { reject } of waiters) reject(this.#unavailable());
    for (const id of [...this.#listeners.keys()]) this.#fail(id);
  }

  #fail(id: SequenceId): void {
    this.#deliver({ type: 'failed', id, error: this.#unavailable().toPlain() });
  }

  #unavailable(): ServeError {
    return this.state === 'stopped'
      ? new ServeError('overloaded', 'The server is shutting down.')
      : new ServeError('engine_restarting', 'The engine is restarting.');
  }

  /** A listener that throws must not cost the others their events. */
  #deliver(event: EngineEvent): void {
    const listener = this.#listeners.get(event.id);
    if (!listener) return;
    this.#loading.delete(event.id); // the first event accepts, or ends
    if (event.type === 'finished' || event.type === 'failed') this.#listeners.delete(event.id);
    try {
      listener(event);
    } catch (error) {
      this.#log.error({ err: error, id: event.id }, 'a listener of engine events failed');
    }
  }
}
