// Compiles the constraints of a request in another process, in turns between tenants, and refuses those that cannot be used. The
// engine compiles them again for itself.
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { Constraint } from '../../contracts/generation.ts';
import { constraintChecks } from '../../grammar/compiler.ts';
import { GrammarError } from '../../grammar/text-pattern.ts';
import type { GivenConstraint } from '../schema/constraints.ts';
import { toParam } from '../wire/route.ts';

/**
 * Returns the constraint of a request, if it has one. Rejects with `ServeError` if it cannot be used or too many wait, and with the
 * reason of the caller's signal.
 */
export async function usableConstraint(
  given: GivenConstraint | undefined,
  caller: Caller | undefined,
): Promise<Constraint | undefined> {
  if (!given?.path) return given?.constraint;
  const fault = await findConstraintFault(given.constraint, caller);
  if (fault) throw toRefusal(fault, toParam(given.path));
  return given.constraint;
}

/** Returns why a constraint cannot be used, if it cannot. Rejects if this is not found out. */
export async function findConstraintFault(
  constraint: Constraint,
  caller: Caller | undefined,
): Promise<GrammarError | undefined> {
  try {
    await constraintChecks.check(constraint, caller);
    return undefined;
  } catch (error) {
    if (error instanceof GrammarError) return error;
    throw error;
  }
}

/** Returns the refusal of a constraint in this field. */
export function toRefusal({ path, message }: GrammarError, param: string): ServeError {
  const place = path === '' ? '' : `${path} `;
  return new ServeError('invalid_request', `${param}: ${place}${message}`, { param });
}
