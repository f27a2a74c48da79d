// A trainer's messages, one after another, to whoever handles them. A handler that is slow, as a store that does not
// answer, does not stop the training: it is told of fewer steps, and memory stays bounded.
import type { TrainerMessage } from '../contracts/training.ts';

/** A handler that takes a second for each still has all steps of a run that takes four minutes for them. */
const MAX_WAITING_STEPS = 256;

export class MessageQueue {
  readonly #handle: (message: TrainerMessage) => void | Promise<void>;
  readonly #waiting: TrainerMessage[] = [];
  #isHandling = false;
  #idle: Promise<void> = Promise.resolve();

  /** @param handle does not reject */
  constructor(handle: (message: TrainerMessage) => void | Promise<void>) {
    this.#handle = handle;
  }

  push(message: TrainerMessage): void {
    if (this.#waiting.length >= MAX_WAITING_STEPS && isPlainStep(message)) return;
    this.#waiting.push(message);
    if (!this.#isHandling) this.#idle = this.#handleAll();
  }

  /** Resolves once all that was pushed has been handled. */
  whenIdle(): Promise<void> {
    return this.#idle;
  }

  async #handleAll(): Promise<void> {
    this.#isHandling = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      await this.#handle(next);
    }
    this.#isHandling = false;
  }
}

/** One of very many, all of which are in the run folder, too. */
function isPlainStep(message: TrainerMessage): boolean {
  return message.type === 'step' && message.validationLoss === undefined;
}
