// The sequences that wait for a KV slot, and the choice of the one that gets the next free slot: in the order of the fair
// queue, as far as adapters, shared prefixes and the token budget of the step allow. Runs nothing.
import type { AdapterLimit } from './adapter-limit.ts';
import type { WaitingQueue } from './fair-queue.ts';
import type { Prefixes } from './prefixes.ts';
import type { Sequence } from './sequence.ts';

/** The limits of a queue, and the policies that it asks. */
export interface SlotQueueOptions {
  readonly slotCount: number;
  readonly prefillChunk: number;
  readonly queue: WaitingQueue;
  readonly adapterLimit: AdapterLimit;
  readonly prefixes: Prefixes;
  /** Returns monotonic milliseconds. */
  now(): number;
}

/** The step that a slot is given in. */
export interface Admitting {
  /** The sequences that own slots. */
  readonly started: readonly Sequence[];
  /** The started ones that are in prefill. */
  readonly prefilling: readonly Sequence[];
  /** The prompt tokens that are left for this step. */
  readonly budget: number;
  /** Counts the steps. */
  readonly step: number;
}

/** The queue before the slots. */
export class SlotQueue {
  readonly #options: SlotQueueOptions;

  constructor(options: SlotQueueOptions) {
    this.#options = options;
  }

  push(sequence: Sequence): void {
    sequence.waitingSinceMs = this.#options.now();
    this.#options.queue.push(sequence);
  }

  remove(sequence: Sequence): void {
    this.#options.queue.remove(sequence);
  }

  chargePrompt(sequence: Sequence, tokens: number): void {
    this.#options.queue.chargePrompt(sequence, tokens);
  }

  chargeGenerated(sequence: Sequence, tokens: number): void {
    this.#options.queue.chargeGenerated(sequence, tokens);
  }

  /** Takes out the first admissible sequence if a slot is free and its first chunk fits into the budget. */
  take({ started, prefilling, budget, step }: Admitting): Sequence | undefined {
    const { slotCount, prefillChunk, queue, adapterLimit, prefixes, now } = this.#options;
    if (started.length >= slotCount) return undefined;
    const find = (isAdmissible: (sequence: Sequence) => boolean) =>
      queue.find((waiting) => {
        return isAdmissible(waiting) && !prefixes.shouldWait(waiting, prefilling);
      });
    const sequence = adapterLimit.choose(find, started, { step, nowMs: now() });
    if (!sequence || prefixes.firstChunkCost(sequence, prefillChunk) > budget) return undefined;
    queue.remove(sequence);
    return sequence;
  }
}
