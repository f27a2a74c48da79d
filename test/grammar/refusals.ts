// Constraints that are refused, and the paths that their errors name.
import type { Constraint } from '../../src/contracts/generation.ts';
import { compileConstraint } from '../../src/grammar/constraint.ts';
import { GrammarError } from '../../src/grammar/grammar-error.ts';

/** The error of a constraint that is refused. */
export function refusalOf(constraint: Constraint): GrammarError | undefined {
  try {
    compileConstraint(constraint);
    return undefined;
  } catch (error) {
    if (error instanceof GrammarError) return error;
    throw error;
  }
}

/** Whether a path such as `#/properties/a` leads to something in a schema. */
export function leadsSomewhere(schema: unknown, pointer: string): boolean {
  const [first, ...parts] = pointer.split('/');
  const end = parts.reduce<unknown>((at, part) => {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    return at === undefined ? undefined : (at as Record<string, unknown>)[name];
  }, schema);
  return first === '#' && end !== undefined;
}
