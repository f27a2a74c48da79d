// Plans a request's use of tools: which tools the prompt shows, which completions are possible, and how they are parsed.
// Independent of any API's wire format.
import { randomUUID } from 'node:crypto';
import type { Constraint } from '../contracts/generation.ts';
import type { FunctionTool } from '../contracts/tools.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { constrainCalls } from './call-constraint.ts';
import { CallParser } from './call-parser.ts';
import type { ToolFormat } from './formats.ts';

/** The tools that a completion may or must call. */
export interface ToolChoice {
  /** `none`: no tool. `auto`: the model decides. `required`: at least one. */
  readonly mode: 'none' | 'auto' | 'required';
  /** Only these tools. Absent: all. */
  readonly names?: readonly string[];
  /** Whether there is exactly one call. */
  readonly isOne?: true;
}

/** The tools of a request, and the rules for using them. */
export interface ToolUse {
  readonly tools: readonly FunctionTool[];
  readonly choice: ToolChoice;
  /** Whether a completion may contain several calls. */
  readonly isParallel: boolean;
}

/** The use of tools in one request. */
export interface ToolPlan {
  /** The tools that the prompt shows. */
  readonly shown: readonly FunctionTool[];
  /** The tools that can be called. */
  readonly callable: readonly FunctionTool[];
  /** The constraint of the completions. */
  readonly constraint: Constraint;
  /** Creates the parser of one completion. */
  createParser(): CallParser;
}

/** How the model calls tools. */
interface CallingModel {
  readonly format: ToolFormat;
  /** The format's tags that are control tokens of the model, with their ids. */
  readonly tagIds: ReadonlyMap<string, number>;
}

/** Returns the calling conventions of a model with this tokenizer, in a format. */
export function callingModel(
  format: ToolFormat,
  tokenizer: Pick<Tokenizer, 'encode' | 'specialIds'>,
): CallingModel {
  const tags = [format.open, format.close].flatMap((text): [string, number][] => {
    const [id, ...rest] = tokenizer.encode(text, { specials: true });
    const isControl = id !== undefined && rest.length === 0 && tokenizer.specialIds.has(id);
    return isControl ? [[text, id]] : [];
  });
  return { format, tagIds: new Map(tags) };
}

/**
 * Plans the use of tools. Undefined if no tool can be called; the prompt shows no tools then.
 * @param text the constraint of a completion without calls; absent: any text
 */
export function planTools(
  { format, tagIds }: CallingModel,
  { tools, choice, isParallel }: ToolUse,
  text?: Constraint | undefined,
): ToolPlan | undefined {
  const { mode, names = tools.map(({ name }) => name) } = choice;
  if (tools.length === 0 || mode === 'none') return undefined;
  const isSingle = format.isSingle || choice.isOne === true || !isParallel;
  const maxCalls = isSingle ? 1 : Number.POSITIVE_INFINITY;
  const callable = tools.filter(({ name }) => names.includes(name));
  return {
    shown: tools,
    callable,
    constraint: constrainCalls(format, callable, { mode, isSingle, text, tagIds }),
    createParser: () => new CallParser(format, { names, maxCalls, createId: createCallId }),
  };
}

function createCallId(): string {
  return `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;
}
