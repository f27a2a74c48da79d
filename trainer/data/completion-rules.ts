// How a server constrains the completions of a prompt with tools and a format, and how it reads them.
import type { Constraint } from '../../src/contracts/generation.ts';
import type { FunctionTool, ToolCall } from '../../src/contracts/tools.ts';
import { parseCompletion } from '../../src/tools/call-parser.ts';
import { callingModel, planTools } from '../../src/tools/tool-plan.ts';
import type { ModelText } from './encode-row.ts';

/** The parts that a completion may have. */
interface CompletionKind {
  readonly tools: readonly FunctionTool[];
  /** Whether there may be several calls. */
  readonly isParallel: boolean;
  /** The constraint of a completion without calls. Absent: any text. */
  readonly format?: Constraint | undefined;
}

/** The rules for the completions of a prompt. */
export interface CompletionRules {
  /** The tools that can be called. */
  readonly callable: readonly FunctionTool[];
  /** Absent: any text. */
  readonly constraint: Constraint | undefined;
  /** The tag before a call. Undefined if there are no calls. */
  readonly open: string | undefined;
  /** Returns the text of a completion without the tokens that a server does not show. */
  toText(ids: readonly number[]): string;
  /** Splits the text into content and calls. */
  read(text: string): { readonly content: string; readonly calls: readonly ToolCall[] };
}

/** Returns the rules of a server for completions of this model. */
export function completionRules(
  { tokenizer, template }: ModelText,
  { tools, isParallel, format }: CompletionKind,
): CompletionRules {
  const model = template && tools.length > 0 ? callingModel(template.format, tokenizer) : undefined;
  const use = { tools, choice: { mode: 'auto' as const }, isParallel };
  const plan = model && planTools(model, use, format);
  const shown = new Set(model?.tagIds.values());
  return {
    callable: plan?.callable ?? [],
    constraint: plan?.constraint ?? format,
    open: model?.format.open,
    toText: (ids) =>
      tokenizer.decode(
        ids.filter((id) => !tokenizer.specialIds.has(id) || shown.has(id)),
        { skipSpecials: false },
      ),
    read: (text) =>
      plan ? parseCompletion(plan.createParser(), text) : { content: text, calls: [] },
  };
}
