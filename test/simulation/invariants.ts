// Where each invariant is checked, and what shows that its check can fail: a planted bug of the world, or tests elsewhere.
import { ROWS } from '../reliability/rows.ts';
import { PLANTED_BUGS } from './planted-bugs.ts';

/** An invariant of docs/evidence/reliability.md. */
export interface Invariant {
  readonly id: string;
  readonly text: string;
  /** The files that check it in the world, or the tests of what the world does not have. */
  readonly checkedBy: readonly string[];
}

const WORLD: Readonly<Record<string, readonly string[]>> = {
  I01: ['requests.ts'],
  I02: ['requests.ts'],
  I03: ['engine.ts'],
  I04: ['engine.ts'],
  I05: ['process.ts'],
  I06: ['engine.ts', 'process.ts'],
  I07: ['requests.ts'],
  I08: ['requests.ts', 'world.ts'],
  I09: ['requests.ts'],
  I10: ['requests.ts'],
  I11: ['process.ts', 'store.ts'],
  I12: ['engine.ts'],
  I15: ['process.ts', '../scheduler/simulation.ts'],
  I16: ['requests.ts'],
  I17: ['requests.ts'],
  I18: ['store-checks.ts'],
  I19: ['store-checks.ts'],
  I20: ['store-checks.ts'],
  I21: ['process.ts'],
  I22: ['process.ts', 'requests.ts'],
  I23: ['engine.ts'],
  I24: ['requests.ts'],
};

/** Fairness needs the queue itself, which no process shows. These tests plant their own bugs. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  I13: ['../scheduler/simulation.test.ts'],
  I14: ['../scheduler/simulation.test.ts'],
  I25: ['../scheduler/idle.test.ts'],
};

/** All invariants, in order. */
export const INVARIANTS: readonly Invariant[] = Object.entries(ROWS)
  .filter(([id]) => id.startsWith('I'))
  .map(([id, text]) => ({ id, text, checkedBy: WORLD[id] ?? ELSEWHERE[id] ?? [] }));

/** The invariants of the world that no planted bug breaks. */
export function withoutBug(): string[] {
  const broken = new Set(PLANTED_BUGS.map(({ invariant }) => invariant));
  return Object.keys(WORLD).filter((id) => !broken.has(id));
}
