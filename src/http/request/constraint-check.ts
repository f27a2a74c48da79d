// Checks the constraint and the tools of a request. Another process compiles them, alternating between tenants. A request whose
// constraint cannot be enforced is refused. The engine compiles it again for itself.
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { Constraint } from '../../contracts/generation.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { constraintChecks } from '../../grammar/compiler.ts';
import { GrammarError } from '../../grammar/text-pattern.ts';
import { argumentsOf } from '../../tools/call-constraint.ts';
import { callingModel, planTools, type ToolPlan, type ToolUse } from '../../tools/tool-plan.ts';
import type { GivenConstraint } from '../schema/constraints.ts';
import { toParam } from '../wire/route.ts';
import type { RequestModel } from './request-model.ts';

/**
 * Returns the constraint of a request, if it has one. Rejects with `ServeError` if the constraint cannot be used or too many
 * wait to be compiled, and with the reason of the caller's signal.
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

/** Returns the reason that a constraint cannot be used, if there is one. Rejects if the check itself fails. */
async function findConstraintFault(
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

/** Returns the error for a constraint in this field. */
function toRefusal({ path, message }: GrammarError, param: string): ServeError {
  const place = path === '' ? '' : `${path} `;
  return new ServeError('invalid_request', `${param}: ${place}${message}`, { param });
}

/**
 * Plans the use of tools. Returns undefined if no tool can be called. Rejects with `ServeError` if a tool's parameters cannot
 * be enforced.
 * @param caller waits for the tools to be compiled
 * @param text the constraint of a completion without calls
 * @param paramOf returns the field that holds the parameters of a tool
 */
export async function planToolUse(
  use: ToolUse,
  { tokenizer, chatTemplate }: RequestModel,
  {
    text,
    caller,
    paramOf,
  }: { text?: Constraint | undefined; caller: Caller; paramOf(index: number): string },
): Promise<(ToolPlan & { shownSpecials: ReadonlySet<number> }) | undefined> {
  if (!tokenizer || !chatTemplate) return undefined;
  const model = callingModel(chatTemplate.format, tokenizer);
  const plan = planTools(model, use, text?.kind === 'any_text' ? undefined : text);
  if (!plan) return undefined;
  await refuseFaults(plan, caller, (tool) => paramOf(use.tools.indexOf(tool)));
  return { ...plan, shownSpecials: new Set(model.tagIds.values()) };
}

/**
 * Rejects with a `ServeError` that names the parameters that cannot be enforced, or `tools` if only all of them together are
 * too much.
 */
async function refuseFaults(
  plan: ToolPlan,
  caller: Caller,
  paramOf: (tool: FunctionTool) => string,
): Promise<void> {
  const fault = await findConstraintFault(plan.constraint, caller);
  if (!fault) return;
  for (const tool of plan.callable) {
    const own = await findConstraintFault(argumentsOf(tool), caller);
    if (own) throw toRefusal(own, paramOf(tool));
  }
  throw toRefusal(fault, 'tools');
}
