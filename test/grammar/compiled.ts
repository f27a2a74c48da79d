// Constraints as the engine takes them, compiled in this process. Unlike those of a server they may be too ambiguous.
import { createHash } from 'node:crypto';
import type { CompiledConstraint, Constraint } from '../../src/contracts/generation.ts';
import { constraintNfa } from '../../src/grammar/constraint.ts';
import { packNfa } from '../../src/grammar/nfa.ts';

const known = new WeakMap<Constraint, CompiledConstraint>();

/** Compiles a constraint, and the same object once. */
export function compiled(constraint: Constraint): CompiledConstraint {
  const before = known.get(constraint);
  if (before) return before;
  const nfa = packNfa(constraintNfa(constraint));
  const digest = createHash('sha256').update(nfa).digest('hex');
  const made = { kind: constraint.kind, digest, nfa };
  known.set(constraint, made);
  return made;
}
