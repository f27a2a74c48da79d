// A pause of the engine, which ends by itself, so that a client that crashes does not stop the server.
import type { Logger } from '../common/log.ts';
import type { Clock } from '../common/waiting.ts';

/** Long enough to write an adapter, short enough for those who wait. */
export const MAX_PAUSE_MS = 300_000;

/**
 * While it is on, the engine takes no step. Running and waiting sequences keep their state; their deadlines count.
 */
export class Pause {
  readonly #send: (isPaused: boolean) => void;
  readonly #clock: Pick<Clock, 'schedule'>;
  readonly #log: Logger;
  #cancelEnd: (() => void) | undefined;

  constructor(send: (isPaused: boolean) => void, clock: Pick<Clock, 'schedule'>, log: Logger) {
    this.#send = send;
    this.#clock = clock;
    this.#log = log;
  }

  get isOn(): boolean {
    return this.#cancelEnd !== undefined;
  }

  /** Begins a pause of at most `MAX_PAUSE_MS`. */
  begin(): void {
    this.#cancelEnd?.();
    this.#cancelEnd = this.#clock.schedule(MAX_PAUSE_MS, () => {
      this.#log.warn({}, 'a pause was ended because nobody resumed in time');
      this.end();
    });
    this.#send(true);
  }

  end(): void {
    if (!this.isOn) return;
    this.forget();
    this.#send(false);
  }

  /** The engine is gone, and another one takes steps. */
  forget(): void {
    this.#cancelEnd?.();
    this.#cancelEnd = undefined;
  }
}
