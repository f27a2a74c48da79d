// Reports what the trainer does: reading the base, measuring it or an adapter, and a step.
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

  /** Begins a phase of `total` micro-batches. 0 means unknown. */
  begin(phase: string, total = 0): void {
    this.#report(phase, 0, total);
  }

  /** Returns a callback for a phase that counts by itself. */
  counter(phase: string): (done: number, total: number) => void {
    return (done, total) => this.#report(phase, done, total);
  }

  /** Reports the share of the current micro-batch that is done: with a large base, it takes minutes. */
  readonly withinBatch = (done: number, total: number): void => {
    if (done < total && this.#phase) this.#sendIfDue(this.#done + done / total);
  };

  #report(phase: string, done: number, total: number): void {
    [this.#phase, this.#done, this.#total] = [phase, done, total];
    this.#sendIfDue(done);
  }

  /** Reports the begin and the end of a phase, and its progress at most every half second. */
  #sendIfDue(done: number): void {
    const nowMs = performance.now();
    const isDue = done === 0 || done === this.#total || nowMs - this.#reportedMs >= REPORT_MS;
    if (!isDue) return;
    this.#reportedMs = nowMs;
    this.#send({ type: 'progress', phase: this.#phase, done, total: this.#total });
  }

  /** Returns the model, which then counts its micro-batches. */
  watch<M extends ProbedModel>(model: M): M {
    const counted =
      <Args extends unknown[], Result>(measure: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        const result = await measure(...args);
        if (this.#total === 0 || this.#done < this.#total) {
          this.#report(this.#phase, this.#done + 1, this.#total);
        }
        return result;
      };
    const { accumulate, evaluate, score, predict } = model;
    return {
      ...model,
      accumulate: counted(accumulate),
      evaluate: counted(evaluate),
      score: counted(score),
      predict: counted(predict),
    };
  }
}
