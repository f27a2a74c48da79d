// Divides the work of matching constraints in a step between tenants. Matching runs on the engine's loop, so all rows wait for
// it. Pure policy: work is counted in positions of the automaton (see `grammar/automaton.ts`), and the clock is an argument.
import type { MatchingWork } from '../contracts/matching-work.ts';
import type { Sequence } from './sequence.ts';

/** A core visits 3,000 to 5,000 positions per ms, and half as many on a busy machine. */
const PLACES_PER_MS = 2000;
/**
 * The part of the last step's length that matching may take. It can double the length of steps, but not make them grow forever.
 */
const STEP_SHARE = 0.5;
/**
 * The least and the most work of a step, 5 and 250 ms: for the first step after idle time, and for one after a very long step.
 */
const STEP_WORK = { least: 10_000, most: 500_000 };

/** The tenant that pays for the work. */
type Payer = Pick<Sequence, 'tenant' | 'weight'>;
/** The facts about a sequence that its matching depends on. */
type Matched = Payer & Pick<Sequence, 'request' | 'sampler'>;

interface Grant {
  readonly payer: Payer;
  readonly work: MatchingWork;
  readonly granted: number;
}

/** Grants work to a step's sequences. All sequences of a tenant share its part. */
export class MatchingShares {
  /** The work of this step, by tenant. */
  #grants = new Map<string, Grant>();
  #share = 0;
  #beganMs = 0;
  #stepMs = 0;
  /** Counts the steps. */
  #turn = 0;
  /** Work beyond the grants of the last step, by tenant. */
  #debts = new Map<string, number>();

  /** Begins a step. `sequences` are the ones that own slots. */
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

  /** Matches the next tokens of running rows, starting at a different row each step. Returns whether one can be drawn. */
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
