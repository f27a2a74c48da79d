// The waiting sequences, fair between tenants by the tokens and the matching that each has been served, in proportion to their
// weights. This is the virtual token counter of arXiv 2401.00588. First in, first out within a tenant.
import { assert } from '../common/assert.ts';
import type { Sequence } from './sequence.ts';

/** The cost of a served token at weight 1. A generated token takes a step, a prompt token only a share of a chunk. */
const PROMPT_TOKEN_COST = 1;
const GENERATED_TOKEN_COST = 2;
/** Matching takes about as long as a prompt token of the smallest base, 2 ms. */
const PLACE_COST = 1 / 5000;

/** Decides the order in which sequences get slots. */
export type WaitingQueue = Pick<
  FairQueue,
  'push' | 'remove' | 'find' | 'isBefore' | 'chargePrompt' | 'chargeGenerated' | 'chargeMatching'
>;

/** A queue of sequences that takes the tenant with the least service first. */
export class FairQueue {
  /** Tenant → the cost of its service, divided by its weight. One entry per tenant ever seen. */
  readonly #served = new Map<string, number>();
  /** Tenant → its waiting sequences. Tenants without any have no entry. */
  readonly #waiting = new Map<string, Sequence[]>();
  #lastTenant: string | undefined;

  push(sequence: Sequence): void {
    const { tenant } = sequence;
    const own = this.#waiting.get(tenant);
    if (own) {
      own.push(sequence);
      return;
    }
    this.#served.set(tenant, Math.max(this.#servedTo(tenant), this.#activeMinimum()));
    this.#waiting.set(tenant, [sequence]);
  }

  remove(sequence: Sequence): void {
    const own = this.#waiting.get(sequence.tenant);
    const index = own?.indexOf(sequence) ?? -1;
    assert(own && index >= 0, 'the sequence waits');
    own.splice(index, 1);
    if (own.length > 0) return;
    this.#waiting.delete(sequence.tenant);
    this.#lastTenant = sequence.tenant;
  }

  /** Returns the first admissible sequence: the least served tenant's oldest. It stays in the queue. */
  find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    const byService = [...this.#waiting].sort(([a], [b]) => this.#servedTo(a) - this.#servedTo(b));
    for (const [, own] of byService) {
      const found = own.find(isAdmissible);
      if (found) return found;
    }
    return undefined;
  }

  /**
   * Whether a waiting sequence may overtake one that has started: its tenant is a different one and has had no more service.
   */
  isBefore({ tenant }: Sequence, started: Sequence): boolean {
    return tenant !== started.tenant && this.#servedTo(tenant) <= this.#servedTo(started.tenant);
  }

  chargePrompt(sequence: Sequence, tokens: number): void {
    this.#charge(sequence, PROMPT_TOKEN_COST * tokens);
  }

  chargeGenerated(sequence: Sequence, tokens: number): void {
    this.#charge(sequence, GENERATED_TOKEN_COST * tokens);
  }

  /** Charges for the automaton positions that were visited to match constraints. */
  chargeMatching(payer: Pick<Sequence, 'tenant' | 'weight'>, places: number): void {
    this.#charge(payer, PLACE_COST * places);
  }

  #charge({ tenant, weight }: Pick<Sequence, 'tenant' | 'weight'>, cost: number): void {
    this.#served.set(tenant, this.#servedTo(tenant) + cost / weight);
  }

  /**
   * The counter at which a tenant starts after being idle: the counter of the least served waiting tenant, or of the tenant
   * that waited last. Idle time earns no credit.
   */
  #activeMinimum(): number {
    if (this.#waiting.size > 0) {
      return Math.min(...[...this.#waiting.keys()].map((tenant) => this.#servedTo(tenant)));
    }
    return this.#lastTenant === undefined ? 0 : this.#servedTo(this.#lastTenant);
  }

  #servedTo(tenant: string): number {
    return this.#served.get(tenant) ?? 0;
  }
}
