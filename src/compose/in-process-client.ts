// An engine in this process: the same loop and the same messages as function calls. It has no second engine to start: one that fails
// stays stopped.

import { ServeError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { Clock } from '../common/waiting.ts';
import type { EngineInfo } from '../contracts/engine.ts';
import type { AdmissionLimits } from '../engine-client/admission.ts';
import { EngineClient } from '../engine-client/client.ts';
import type {
  ChannelHandlers,
  EngineChannel,
  EngineState,
  FromEngine,
  ToEngine,
} from '../scheduler/protocol.ts';
import type { StepLoop } from '../scheduler/step-loop.ts';

/** Starts the loop and returns a client of it. */
export function createInProcessClient(
  loop: StepLoop,
  log: Logger,
  admission?: AdmissionLimits,
  clock?: Clock,
): EngineClient {
  const connect = (handlers: ChannelHandlers) => new InProcessChannel(loop, log, handlers);
  return new EngineClient(connect, log, admission, clock);
}

class InProcessChannel implements EngineChannel {
  readonly #loop: StepLoop;
  readonly #log: Logger;
  readonly #handlers: ChannelHandlers;
  readonly #ended: Promise<void>;
  #state: EngineState = 'ready';

  constructor(loop: StepLoop, log: Logger, handlers: ChannelHandlers) {
    this.#loop = loop;
    this.#log = log;
    this.#handlers = handlers;
    this.#ended = loop
      .run((message) => this.#receive(message))
      .then(
        () => this.#stop(),
        (error) => this.kill(String(error)),
      );
  }

  get state(): EngineState {
    return this.#state;
  }

  get model(): EngineInfo {
    return this.#loop.model;
  }

  /** The caller runs in the same event loop as the engine. */
  get isProgressing(): boolean {
    return true;
  }

  async whenReady(): Promise<EngineInfo> {
    if (this.#state === 'ready') return this.model;
    throw new ServeError('overloaded', 'The server is shutting down.');
  }

  /** Delivers the message later, like a message between processes: a listener never runs inside `submit`. */
  send(message: ToEngine): void {
    queueMicrotask(() => this.#loop.handle(message));
  }

  kill(reason: string): void {
    this.#log.error(`engine stopped: ${reason}`);
    this.#stop();
  }

  restart(reason: string): void {
    this.kill(reason);
  }

  async drain(deadlineMs: number): Promise<void> {
    this.send({ type: 'drain', deadlineMs });
    await this.#ended;
  }

  #receive(message: FromEngine): void {
    if (message.type === 'log') this.#log[message.level](message.fields ?? {}, message.message);
    else this.#handlers.onMessage(message);
  }

  #stop(): void {
    this.#state = 'stopped';
    this.#handlers.onLost();
  }
}
