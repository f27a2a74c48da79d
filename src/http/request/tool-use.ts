// The tools of a request, checked against what the model can do.
import type { Caller } from '../../common/turn-queue.ts';
import type { Constraint } from '../../contracts/generation.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { argumentsOf } from '../../tools/call-constraint.ts';
import { callingModel, planTools, type ToolPlan, type ToolUse } from '../../tools/tool-plan.ts';
import type { Deps } from '../deps.ts';
import { findConstraintFault, toRefusal } from './constraint-check.ts';

/**
 * Plans the use of tools. Undefined if no tool can be called. Rejects with `ServeError` for parameters that cannot be enforced.
 * @param caller waits for their compilation
 * @param text the constraint of an answer without calls
 * @param paramOf returns the field that holds the parameters of a tool
 */
export async function planToolUse(
  use: ToolUse,
  { tokenizer, chatTemplate }: Deps,
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

/** Rejects with a `ServeError` that names the parameters which cannot be enforced, or all tools if they are too much together. */
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
