// The work of matching constraints in a step, divided between tenants. It runs on the engine's loop, so all rows wait for it. Pure
// policy: work is counted in places (see `grammar/automaton.ts`), and the clock is an argument.
import type { MatchingWork } from '../contracts/matching-work.ts';
import type { Sequence } from './sequence.ts';

/** A core visits 3,000 to 5,000 in a ms, and half as many on a busy machine. */
const PLACES_PER_MS = 2000;
/** The part of the last step's length that matching may take. So it can make steps twice as long, but not longer and longer. */
const STEP_SHARE = 0.5;
/** Bounds the work of a step: the first one after idle time, and one that followed a very long one. They are 5 and 250 ms. */
const STEP_WORK = { least: 10_000, most: 500_000 };

/** A tenant, as far as it is charged. */
type Payer = Pick<Sequence, 'tenant' | 'weight'>;
/** A sequence, as far as its matching needs it. */
type Matched = Payer & Pick<Sequence, 'request' | 'sampler'>;

interface Grant {
  readonly payer: Payer;
  readonly work: MatchingWork;
  readonly granted: number;
}

/** Grants work to the sequences of a step. All sequences of a tenant share its part. */
export class MatchingShares {
  /** By tenant, of this step. */
  #grants = new Map<string, Grant>();
  #share = 0;
  #beganMs = 0;
  #stepMs = 0;
  /** Counts the steps. */
  #turn = 0;
  /** Work beyond the grants of the last step, by tenant. */
  #debts = new Map<string, number>();

  /** Begins a step. `sequences`: those that own slots. */
  begin(nowMs: number, sequences: readonly Matched[]): void {
    this.#beganMs = nowMs;
    this.#turn++;
    const constrained = sequences.filter(({ request }) => request.constraint);
    const tenants = new Set(constrained.map(({ tenant }) => tenant));
    const work = Math.max(STEP_WORK.least, STEP_SHARE * PLACES_PER_MS * this.#stepMs);
    this.#share = Math.min(STEP_WORK.most, work) / Math.max(1, tenants.size);
    this.#grants.clear();
  }

  /** Matches the next token of a sequence, as far as its tenant's share allows. Returns whether a token can be drawn. */
  prepare({ request, sampler, ...payer }: Matched): boolean {
    if (request.constraint) sampler.grant(this.#workOf(payer));
    return sampler.prepare();
  }

  /** Matches the next tokens of running rows, each step another one first. Returns whether one can be drawn. */
  prepareAll(rows: readonly Matched[]): boolean {
    const first = this.#turn % Math.max(1, rows.length);
    const order = [...rows.slice(first), ...rows.slice(0, first)];
    return order.filter((row) => this.prepare(row)).length > 0;
  }

  /** Ends the step. Calls `charge` with the work of each tenant. */
  end(nowMs: number, charge: (payer: Payer, places: number) => void): void {
    this.#stepMs = nowMs - this.#beganMs;
    this.#debts.clear();
    for (const { payer, work, granted } of this.#grants.values()) {
      if (work.left < granted) charge(payer, granted - work.left);
      if (work.left < 0) this.#debts.set(payer.tenant, -work.left);
    }
  }

  #workOf({ tenant, weight }: Payer): MatchingWork {
    const known = this.#grants.get(tenant);
    if (known) return known.work;
    const granted = this.#share - (this.#debts.get(tenant) ?? 0);
    const grant = { payer: { tenant, weight }, work: { left: granted }, granted };
    this.#grants.set(tenant, grant);
    return grant.work;
  }
}
