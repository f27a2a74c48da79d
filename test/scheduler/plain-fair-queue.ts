// The virtual token counter of arXiv 2401.00588, algorithm 2, written down plainly, with flaws that a test can plant.
import type { Payer, WaitingQueue } from '../../src/scheduler/fair-queue.ts';
import type { Sequence } from '../../src/scheduler/sequence.ts';

export interface Flaws {
  /** An idle tenant keeps its counter. */
  noLift?: boolean;
  /** Generated tokens are free. */
  freeOutput?: boolean;
  /** Prompt tokens are free. */
  freePrompts?: boolean;
  /** Matching constraints is free. */
  freeMatching?: boolean;
  ignoresWeights?: boolean;
  /** One queue for all, first in, first out. */
  fifo?: boolean;
}

export class PlainFairQueue implements WaitingQueue {
  readonly #flaws: Flaws;
  #waiting: Sequence[] = [];
  /** Who has waited for the longest comes first among equals. */
  #tenants: string[] = [];
  readonly #counters: Record<string, number> = {};
  #lastToLeave: string | undefined;

  constructor(flaws: Flaws = {}) {
    this.#flaws = flaws;
  }

  push(sequence: Sequence): void {
    const { tenant } = sequence;
    if (!this.#tenants.includes(tenant)) {
      const waiting = this.#tenants.map((other) => this.#counter(other));
      const lift = waiting.length > 0 ? Math.min(...waiting) : this.#counter(this.#lastToLeave);
      const own = this.#counter(tenant);
      this.#counters[tenant] = this.#flaws.noLift ? own : Math.max(own, lift);
      this.#tenants.push(tenant);
    }
    this.#waiting.push(sequence);
  }

  remove(sequence: Sequence): void {
    this.#waiting = this.#waiting.filter((other) => other !== sequence);
    if (this.#waiting.some(({ tenant }) => tenant === sequence.tenant)) return;
    this.#tenants = this.#tenants.filter((tenant) => tenant !== sequence.tenant);
    this.#lastToLeave = sequence.tenant;
  }

  find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    if (this.#flaws.fifo) return this.#waiting.find(isAdmissible);
    let best: Sequence | undefined;
    for (const tenant of this.#tenants) {
      const first = this.#waiting.find((one) => one.tenant === tenant && isAdmissible(one));
      if (!first) continue;
      if (!best || this.#counter(tenant) < this.#counter(best.tenant)) best = first;
    }
    return best;
  }

  #counter(tenant: string | undefined): number {
    return this.#counters[tenant ?? ''] ?? 0;
  }

  isBefore(one: Sequence, started: Sequence): boolean {
    if (this.#flaws.fifo || one.tenant === started.tenant) return false;
    return this.#counter(one.tenant) <= this.#counter(started.tenant);
  }

  charge(
    payer: Payer,
    service: 'promptTokens' | 'generatedTokens' | 'matchedPositions',
    n: number,
  ) {
    const { freePrompts, freeOutput, freeMatching } = this.#flaws;
    if (service === 'promptTokens' && !freePrompts) this.#charge(payer, n);
    if (service === 'generatedTokens' && !freeOutput) this.#charge(payer, 2 * n);
    if (service === 'matchedPositions' && !freeMatching) this.#charge(payer, n / 5000);
  }

  #charge({ tenant, weight }: Payer, cost: number): void {
    const share = this.#flaws.ignoresWeights ? 1 : weight;
    this.#counters[tenant] = this.#counter(tenant) + cost / share;
  }
}
