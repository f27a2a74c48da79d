// From a request's tools to what the prompt shows and how the answer is read. Does not know any API's wire format.
import { randomUUID } from 'node:crypto';
import { ServeError } from '../common/errors.ts';
import type { FunctionTool } from '../contracts/tools.ts';
import { type CallParser, createCallParser } from './call-parser.ts';
import type { ToolFormat } from './formats.ts';

/** Which tools an answer may or must call. */
export interface ToolChoice {
  /** `none`: no tool. `auto`: the model decides. `required`: at least one. */
  readonly mode: 'none' | 'auto' | 'required';
  /** Only these. Absent: all. */
  readonly names?: readonly string[];
  /** Whether there is exactly one call. */
  readonly isOne?: true;
}

/** The tools of a request, and how they may be used. */
export interface ToolUse {
  readonly tools: readonly FunctionTool[];
  readonly choice: ToolChoice;
  /** Whether an answer may have several calls. */
  readonly isParallel: boolean;
}

/** How tools are used in one request. */
export interface ToolPlan {
  /** The tools that the prompt shows. */
  readonly shown: readonly FunctionTool[];
  /** Creates the parser of one answer. */
  createParser(): CallParser;
}

/** Plans the use of tools. Undefined if no tool can be called: the prompt then shows none. */
export function planTools(format: ToolFormat, use: ToolUse): ToolPlan | undefined {
  const { tools, choice, isParallel } = use;
  if (tools.length === 0 || choice.mode === 'none') return undefined;
  if (choice.mode === 'required') {
    const message = 'tool_choice: a call cannot be required on this server. Use auto.';
    throw new ServeError('unsupported_parameter', message, { param: 'tool_choice' });
  }
  const names = choice.names ?? tools.map(({ name }) => name);
  const isSingle = format.isSingle || choice.isOne || !isParallel;
  const maxCalls = isSingle ? 1 : Number.POSITIVE_INFINITY;
  return {
    shown: tools,
    createParser: () => createCallParser(format, { names, maxCalls, createId: createCallId }),
  };
}

function createCallId(): string {
  return `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;
}
