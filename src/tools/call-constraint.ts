// Builds the constraint for completions with calls: other text is free, and a call names one of the tools and has arguments
// that satisfy the tool's schema.
import type { Constraint } from '../contracts/generation.ts';
import type { FunctionTool } from '../contracts/tools.ts';
import type { ToolFormat } from './formats.ts';

/** The calls that a completion may contain. */
interface CallRules {
  /** `auto`: any number of calls, including none. `required`: at least one, and no other text. */
  readonly mode: 'auto' | 'required';
  /** Whether there is at most one. */
  readonly isSingle: boolean;
  /** The constraint for a completion without calls. Absent: any text, which may also come before and between calls. */
  readonly text?: Constraint | undefined;
  /** The format's tags that are control tokens of the model, with their ids. */
  readonly tagIds: ReadonlyMap<string, number>;
}

/** Returns the constraint of a completion that may call these tools. */
export function constrainCalls(
  format: ToolFormat,
  tools: readonly FunctionTool[],
  { mode, isSingle, text, tagIds }: CallRules,
): Constraint {
  const {
    open,
    startsBare,
    call: [before, between, after],
    list: [first, separator, last],
  } = format;
  const marked = (shown: string) => withTokens(shown, tagIds);
  const call = anyOf(
    tools.map((tool) =>
      sequence(marked(before + tool.name + between), argumentsOf(tool), marked(after)),
    ),
  );
  const calls = isSingle ? call : { kind: 'repeat' as const, item: call, separator };
  const whole = sequence(marked(first), calls, marked(last));
  if (mode === 'required') return whole;
  if (text) return anyOf([text, whole]);
  if (startsBare) return anyOf([{ kind: 'tags', triggers: [before], tags: [] }, whole]);
  // Free text contains no control tokens, so nothing needs to search it for the tag.
  if (tagIds.has(open)) return sequence({ kind: 'any_text' }, anyOf([literal(''), whole]));
  const isList = first !== '';
  const tags = isList
    ? [{ begin: first, content: sequence(calls, literal(last)), end: '' }]
    : tools.map((tool) => ({
        begin: before + tool.name + between,
        content: argumentsOf(tool),
        end: after,
      }));
  return { kind: 'tags', triggers: [open], tags, isSingle: isSingle || isList };
}

/** A function without parameters takes an empty object. */
export function argumentsOf({ parameters }: FunctionTool): Constraint {
  const schema = parameters
    ? { type: 'object', ...parameters }
    : { type: 'object', properties: {}, additionalProperties: false };
  return { kind: 'json_schema', schema, isSpaced: true };
}

function literal(text: string): Constraint {
  return { kind: 'text', text };
}

function sequence(...parts: readonly Constraint[]): Constraint {
  return { kind: 'sequence', parts };
}

function anyOf(options: readonly Constraint[]): Constraint {
  return { kind: 'any_of', options };
}

/** Returns the pattern of a text in which some tags are control tokens. */
function withTokens(text: string, tagIds: ReadonlyMap<string, number>): Constraint {
  for (const [tag, id] of tagIds) {
    const at = text.indexOf(tag);
    if (at < 0) continue;
    const rest = withTokens(text.slice(at + tag.length), tagIds);
    return sequence(withTokens(text.slice(0, at), tagIds), { kind: 'token', id }, rest);
  }
  return literal(text);
}
