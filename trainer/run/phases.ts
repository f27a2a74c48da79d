// Reports what the trainer does between steps: reading the base, and measuring it or an adapter.
import type { TrainerMessage } from '../../src/contracts/training-messages.ts';
import type { ProbedModel } from '../types.ts';

/** Between two reports of a phase. */
const REPORT_MS = 500;

/** The phases of a run or an evaluation, one after the other. */
export class Phases {
  readonly #send: (message: TrainerMessage) => void;
  #phase = '';
  #done = 0;
  #total = 0;
  #reportedMs = 0;

  constructor(send: (message: TrainerMessage) => void) {
    this.#send = send;
  }

  /** Begins a phase of `total` measured batches. 0 means unknown. */
  begin(phase: string, total = 0): void {
    this.#report(phase, 0, total);
  }

  /** Returns a callback for a phase that counts by itself. */
  counter(phase: string): (done: number, total: number) => void {
    return (done, total) => this.#report(phase, done, total);
  }

  /** Reports the begin and the end of a phase, and its progress at most every half second. */
  #report(phase: string, done: number, total: number): void {
    [this.#phase, this.#done, this.#total] = [phase, done, total];
    const nowMs = performance.now();
    const isDue = done === 0 || done === total || nowMs - this.#reportedMs >= REPORT_MS;
    if (!isDue) return;
    this.#reportedMs = nowMs;
    this.#send({ type: 'progress', phase, done, total });
  }

  /** Returns the model, which then counts the batches that it measures. */
  watch<M extends ProbedModel>(model: M): M {
    const counted =
      <Args extends unknown[], Result>(measure: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        const result = await measure(...args);
        if (this.#done < this.#total) this.#report(this.#phase, this.#done + 1, this.#total);
        return result;
      };
    const { evaluate, score, predict } = model;
    return {
      ...model,
      evaluate: counted(evaluate),
      score: counted(score),
      predict: counted(predict),
    };
  }
}
