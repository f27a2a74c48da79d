// Fairness between tenants, as pure policy. The order of the waiting sequences counts the tokens and the matching that each
// tenant has been served, in proportion to its weight. This is the virtual token counter of arXiv 2401.00588. Within a step, the
// work of matching constraints is divided too: it runs on the engine's loop, so all rows wait for it. That work is counted in
// positions of the automaton (see `grammar/automaton.ts`).
import { assert } from '../common/assert.ts';
import { smallest } from '../common/long-arrays.ts';
import type { WorkBudget } from '../contracts/work-budget.ts';
import type { Sequence } from './sequence.ts';

/**
 * The cost of what a tenant is served, at weight 1. A generated token takes a step, a prompt token only a share of a chunk.
 * Matching takes about as long as a prompt token of the smallest base, 2 ms.
 */
const COSTS = { promptTokens: 1, generatedTokens: 2, matchedPositions: 1 / 5000 };

/** The tenant that pays for a service. */
export type Payer = Pick<Sequence, 'tenant' | 'weight' | 'isIdle'>;

/** Decides the order in which sequences get slots. */
export type WaitingQueue = Pick<FairQueue, 'push' | 'remove' | 'find' | 'isBefore' | 'charge'>;

/** A queue of sequences that takes the tenant with the least service first. First in, first out within a tenant. */
export class FairQueue {
  /** Tenant → the cost of its service, divided by its weight. One entry per tenant ever seen. */
  readonly #service = new Map<string, number>();
  /** Tenant → its waiting sequences. Tenants without any have no entry. */
  readonly #waiting = new Map<string, Sequence[]>();
  #lastTenant: string | undefined;

  push(sequence: Sequence): void {
    const { tenant } = sequence;
    const queue = this.#waiting.get(tenant) ?? [];
    if (queue.length === 0) {
      this.#service.set(tenant, Math.max(this.#serviceOf(tenant), this.#activeMinimum()));
      this.#waiting.set(tenant, queue);
    }
    queue.push(sequence);
  }

  remove(sequence: Sequence): void {
    const queue = this.#waiting.get(sequence.tenant);
    const index = queue?.indexOf(sequence) ?? -1;
    assert(queue && index >= 0, 'the sequence waits');
    queue.splice(index, 1);
    if (queue.length > 0) return;
    this.#waiting.delete(sequence.tenant);
    this.#lastTenant = sequence.tenant;
  }

  /** Returns the first admissible sequence: the least served tenant's oldest. It stays in the queue. */
  find(isAdmissible: (sequence: Sequence) => boolean): Sequence | undefined {
    const byService = [...this.#waiting].sort(
      ([a], [b]) => this.#serviceOf(a) - this.#serviceOf(b),
    );
    for (const [, queue] of byService) {
      const sequence = queue.find(isAdmissible);
      if (sequence) return sequence;
    }
    return undefined;
  }

  /**
   * Whether a waiting sequence may overtake one that has started: its tenant is a different one and has had no more service.
   */
  isBefore({ tenant }: Sequence, started: Sequence): boolean {
    return tenant !== started.tenant && this.#serviceOf(tenant) <= this.#serviceOf(started.tenant);
  }

  /** Charges for tokens, or for the automaton positions that were visited to match constraints. */
  charge({ tenant, weight }: Payer, service: keyof typeof COSTS, count: number): void {
    this.#service.set(tenant, this.#serviceOf(tenant) + (COSTS[service] * count) / weight);
  }

  /**
   * The counter at which a tenant starts after being idle: the counter of the least served waiting tenant, or of the tenant
   * that waited last. Idle time earns no credit.
   */
  #activeMinimum(): number {
    if (this.#waiting.size > 0) {
      return smallest([...this.#waiting.keys()].map((tenant) => this.#serviceOf(tenant)));
    }
    return this.#lastTenant === undefined ? 0 : this.#serviceOf(this.#lastTenant);
  }

  #serviceOf(tenant: string): number {
    return this.#service.get(tenant) ?? 0;
  }
}

/** A core visits 3,000 to 5,000 positions per ms, and half as many on a busy machine. */
const POSITIONS_PER_MS = 2000;
/**
 * The part of the last step's length that matching may take. It can double the length of steps, but not make them grow forever.
 */
const STEP_SHARE = 0.5;
/**
 * The least and the most work of a step, 5 and 250 ms: for the first step after idle time, and for one after a very long step.
 */
const STEP_WORK = { least: 10_000, most: 500_000 };

/** The facts about a sequence that its matching depends on. */
type Matched = Payer & Pick<Sequence, 'request' | 'sampler'>;

interface TenantBudget {
  readonly payer: Payer;
  readonly work: WorkBudget;
  readonly positions: number;
}

/** Gives a step's sequences work budgets. All sequences of a tenant share its part. */
export class MatchingShares {
  /** By tenant, for this step. */
  #budgets = new Map<string, TenantBudget>();
  #share = 0;
  #beganMs = 0;
  #stepMs = 0;
  /** Counts the steps. */
  #turn = 0;
  /** Work beyond the budgets of the last step, by tenant. */
  #debts = new Map<string, number>();

  /** Begins a step. `sequences` are the ones that own slots. */
  begin(nowMs: number, sequences: readonly Matched[]): void {
    this.#beganMs = nowMs;
    this.#turn++;
    const constrained = sequences.filter(({ request }) => request.constraint);
    const tenants = new Set(constrained.map(({ tenant }) => tenant));
    const work = Math.max(STEP_WORK.least, STEP_SHARE * POSITIONS_PER_MS * this.#stepMs);
    this.#share = Math.min(STEP_WORK.most, work) / Math.max(1, tenants.size);
    this.#budgets.clear();
  }

  /** Matches the next token of a sequence, as far as its tenant's share allows. Returns whether a token can be drawn. */
  prepare(sequence: Matched): boolean {
    const { request, sampler } = sequence;
    if (request.constraint) sampler.setBudget(this.#workOf(sequence));
    return sampler.prepare();
  }

  /** Matches the next tokens of running rows, starting at a different row each step. Returns whether one can be drawn. */
  prepareAll(rows: readonly Matched[]): boolean {
    const first = this.#turn % Math.max(1, rows.length);
    const order = [...rows.slice(first), ...rows.slice(0, first)];
    return order.filter((row) => this.prepare(row)).length > 0;
  }

  /** Ends the step, and charges each tenant for its work. */
  end(nowMs: number, queue: Pick<WaitingQueue, 'charge'>): void {
    this.#stepMs = nowMs - this.#beganMs;
    this.#debts.clear();
    for (const { payer, work, positions } of this.#budgets.values()) {
      if (work.left < positions) queue.charge(payer, 'matchedPositions', positions - work.left);
      if (work.left < 0) this.#debts.set(payer.tenant, -work.left);
    }
  }

  #workOf(payer: Payer): WorkBudget {
    const positions = this.#share - (this.#debts.get(payer.tenant) ?? 0);
    const known = this.#budgets.get(payer.tenant);
    const budget = known ?? { payer, work: { left: positions }, positions };
    this.#budgets.set(payer.tenant, budget);
    return budget.work;
  }
}
