// Compiles the constraint and the tools of a request for the engine, in another process that alternates between tenants. Refuses
// a request whose constraint cannot be enforced.
import { fieldError, type ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { CompiledConstraint, Constraint } from '../../contracts/generation.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { constraintCompiler } from '../../grammar/compiler.ts';
import { GrammarError } from '../../grammar/grammar-error.ts';
import { argumentsOf } from '../../tools/call-constraint.ts';
import { callingModel, planTools, type ToolPlan, type ToolUse } from '../../tools/tool-plan.ts';
import type { GivenConstraint } from '../schema/constraints.ts';
import { toParam } from '../wire/route.ts';
import type { ServedText } from './model-texts.ts';

/** A constraint that can be enforced. It is not compiled if it allows any text. */
export interface UsableConstraint {
  readonly constraint: Constraint;
  readonly compiled?: CompiledConstraint;
}

/**
 * Returns the constraint of a request, if it has one. Rejects with `ServeError` if the constraint cannot be used or too many
 * wait to be compiled, and with the reason of the caller's signal.
 */
export async function usableConstraint(
  candidate: GivenConstraint | undefined,
  caller: Caller | undefined,
): Promise<UsableConstraint | undefined> {
  if (!candidate) return undefined;
  const { constraint, path = [] } = candidate;
  if (constraint.kind === 'any_text') return { constraint };
  const compiled = await compileOrFault(constraint, caller);
  if (compiled instanceof GrammarError) throw toRefusal(compiled, toParam(path));
  return { constraint, compiled };
}

/** Returns the compiled constraint, or the reason that it cannot be used. Rejects if the compilation itself fails. */
async function compileOrFault(
  constraint: Constraint,
  caller: Caller | undefined,
): Promise<CompiledConstraint | GrammarError> {
  try {
    return await constraintCompiler.compile(constraint, caller);
  } catch (error) {
    if (error instanceof GrammarError) return error;
    throw error;
  }
}

/** Returns the error for a constraint in this field. */
function toRefusal({ path, message }: GrammarError, param: string): ServeError {
  const prefix = path === '' ? '' : `${path} `;
  return fieldError(param, `${prefix}${message}`);
}

/** A plan whose constraint is compiled. `shownSpecials`: the control tokens that are the format's tags. */
interface UsableToolPlan extends ToolPlan {
  readonly compiled: CompiledConstraint;
  readonly shownSpecials: ReadonlySet<number>;
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
  { tokenizer, chatTemplate }: ServedText,
  {
    text,
    caller,
    paramOf,
  }: { text?: Constraint | undefined; caller: Caller; paramOf(index: number): string },
): Promise<UsableToolPlan | undefined> {
  if (!tokenizer || !chatTemplate) return undefined;
  const model = callingModel(chatTemplate.format, tokenizer);
  const plan = planTools(model, use, text?.kind === 'any_text' ? undefined : text);
  if (!plan) return undefined;
  const compiled = await compilePlan(plan, caller, (tool) => paramOf(use.tools.indexOf(tool)));
  return { ...plan, compiled, shownSpecials: new Set(model.tagIds.values()) };
}

/**
 * Rejects with a `ServeError` that names the parameters that cannot be enforced, or `tools` if only all of them together are
 * too much.
 */
async function compilePlan(
  plan: ToolPlan,
  caller: Caller,
  paramOf: (tool: FunctionTool) => string,
): Promise<CompiledConstraint> {
  const compiled = await compileOrFault(plan.constraint, caller);
  if (!(compiled instanceof GrammarError)) return compiled;
  for (const tool of plan.callable) {
    const argumentsOnly = await compileOrFault(argumentsOf(tool), caller);
    if (argumentsOnly instanceof GrammarError) throw toRefusal(argumentsOnly, paramOf(tool));
  }
  throw toRefusal(compiled, 'tools');
}
