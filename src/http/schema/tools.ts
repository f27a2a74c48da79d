// The tool fields of chat requests: definitions, the choice between them, and their older spelling as functions. Templates
// decide how a model sees them.
import { z } from '@hono/zod-openapi';
import { addIssue, parseInside, type Refine } from '../../common/schema-issues.ts';
import {
  type FunctionTool,
  findOrphan,
  functionsSchema,
  MAX_TOOLS,
  refuseTwins,
  toolsSchema,
} from '../../contracts/tools.ts';
import type { ToolChoice, ToolUse } from '../../tools/tool-plan.ts';
import { type FieldRow, INERT, onlyValue, REFUSED, readBy } from './fields.ts';

function chatOnly<Schema extends z.ZodType>(schema: Schema, help: string) {
  return { chat: schema, completions: REFUSED, help };
}

const text = { type: 'string' as const };
const anyObject = { type: 'object' as const, additionalProperties: true };
/** A function in the API's document. */
export const FUNCTION_FORM = {
  type: 'object' as const,
  properties: {
    name: text,
    description: text,
    parameters: anyObject,
    strict: { type: 'boolean' as const },
  },
  required: ['name'],
};
/** A tool choice in the API's document. */
export const CHOICE_FORM = { anyOf: [{ enum: ['none', 'auto', 'required'] }, anyObject] };
const namedForm = { type: 'object' as const, properties: { name: text }, required: ['name'] };

/** Returns the schema of a list of tools without nesting. */
export function toolListSchema<Tool>(
  read: (value: unknown, ctx: Refine) => Tool | undefined,
  functionOf: (tool: Tool) => FunctionTool,
  form: object,
) {
  return z
    .array(z.unknown().transform(read))
    .max(MAX_TOOLS, `at most ${MAX_TOOLS} are allowed`)
    .transform((tools) => tools as Tool[])
    .superRefine((tools, ctx) => {
      refuseTwins((index) => [index, 'name'])(tools.map(functionOf), ctx);
    })
    .openapi({ type: 'array', maxItems: MAX_TOOLS, items: form } as object);
}

const nameSchema = z.strictObject({ name: z.string() });
const namedTool = z.strictObject({ type: z.literal('function'), function: nameSchema });
const choiceObject = z.discriminatedUnion('type', [
  namedTool,
  z.strictObject({
    type: z.literal('allowed_tools'),
    allowed_tools: z.strictObject({
      mode: z.enum(['auto', 'required']),
      tools: z.array(namedTool).min(1).max(MAX_TOOLS),
    }),
  }),
]);

/** A tool choice, and the path of each name in it. */
export interface PlacedChoice extends ToolChoice {
  readonly places: readonly PropertyKey[][];
}

/** Returns a reader of `tool_choice`. `read` takes objects of these types. */
export function toolChoiceReader<T>(
  schema: z.ZodType<T>,
  read: (choice: T) => PlacedChoice,
  types: readonly unknown[] = ['function', 'allowed_tools'],
) {
  return (value: NonNullable<unknown>, ctx: Refine): PlacedChoice | undefined => {
    if (value === 'none' || value === 'auto' || value === 'required') {
      return { mode: value, places: [] };
    }
    const isKnown = typeof value === 'object' && 'type' in value;
    if (!isKnown || !types.includes(value.type)) {
      return addIssue(ctx, 'must be none, auto, required, a function, or allowed_tools');
    }
    const choice = parseInside(schema, value, ctx);
    return choice && read(choice);
  };
}

const toToolChoice = toolChoiceReader(choiceObject, (choice) => {
  if (choice.type === 'function') {
    const { name } = choice.function;
    return { mode: 'required', names: [name], isOne: true, places: [['function', 'name']] };
  }
  const { mode, tools } = choice.allowed_tools;
  const names = tools.map((tool) => tool.function.name);
  return {
    mode,
    names,
    places: names.map((_, i) => ['allowed_tools', 'tools', i, 'function', 'name']),
  };
});

function toFunctionChoice(value: unknown, ctx: Refine): PlacedChoice | undefined {
  if (value === 'none' || value === 'auto') return { mode: value, places: [] };
  if (typeof value !== 'object') {
    return addIssue(ctx, 'must be none, auto, or an object with the name of a function');
  }
  const choice = parseInside(nameSchema, value, ctx);
  return choice && { mode: 'required', names: [choice.name], isOne: true, places: [['name']] };
}

/** The tool fields of a request. */
export const TOOL_FIELDS = {
  tools: chatOnly(
    toolsSchema.nullish().openapi({
      type: ['array', 'null'],
      maxItems: MAX_TOOLS,
      items: {
        type: 'object',
        properties: { type: { const: 'function' }, function: FUNCTION_FORM },
        required: ['type', 'function'],
      },
    }),
    `Functions that the model may call, at most ${MAX_TOOLS}`,
  ),
  tool_choice: {
    chat: readBy(toToolChoice, CHOICE_FORM),
    completions: onlyValue('none'),
    help: 'none, auto (the default), required, a function, or allowed_tools; in completions only none',
  },
  parallel_tool_calls: {
    chat: z.boolean().nullish(),
    completions: INERT,
    help: 'false: an answer has at most one call (default: true)',
  },
  functions: chatOnly(
    functionsSchema
      .nullish()
      .openapi({ type: ['array', 'null'], maxItems: MAX_TOOLS, items: FUNCTION_FORM }),
    'The older form of tools; the answer has a function_call',
  ),
  function_call: chatOnly(
    readBy(toFunctionChoice, { anyOf: [{ enum: ['none', 'auto'] }, namedForm] }),
    'The older form of tool_choice: none, auto, or the name of a function',
  ),
} as const satisfies Record<string, FieldRow>;

/** The checked tool fields. */
export interface ToolFields {
  readonly tools?: readonly FunctionTool[] | null | undefined;
  readonly tool_choice?: PlacedChoice | undefined;
  readonly parallel_tool_calls?: boolean | null | undefined;
  readonly functions?: readonly FunctionTool[] | null | undefined;
  readonly function_call?: PlacedChoice | undefined;
}

/** Adds issues for choices that do not match the tools. */
export function checkTools(body: ToolFields, ctx: Refine): void {
  if (body.tools?.length && body.functions?.length) {
    addIssue(ctx, 'cannot be combined with tools. Send only one of them', ['functions']);
  }
  for (const [list, choiceName] of [
    ['tools', 'tool_choice'],
    ['functions', 'function_call'],
  ] as const) {
    const names = (body[list] ?? []).map(({ name }) => name);
    const { mode, names: choices = [], places = [] } = body[choiceName] ?? {};
    if (mode === 'required' && names.length === 0) {
      addIssue(ctx, `needs ${list}`, [choiceName]);
      continue;
    }
    const wrong = choices.findIndex((name) => !names.includes(name));
    if (wrong >= 0) {
      addIssue(ctx, `${list} has no function of this name`, [choiceName, ...places[wrong]!]);
    }
  }
}

/**
 * Reads the tool fields. Returns undefined if there are no tools.
 * @param fallback the tools of a request that has neither tools nor functions
 */
export function toToolUse(
  body: ToolFields,
  fallback: readonly FunctionTool[] = [],
): ToolUse | undefined {
  const isOlder = !body.tools?.length && (body.functions?.length ?? 0) > 0;
  const tools = (isOlder ? body.functions : body.tools) ?? fallback;
  if (tools.length === 0) return undefined;
  const choice = (isOlder ? body.function_call : body.tool_choice) ?? { mode: 'auto' };
  const isParallel = !isOlder && (body.parallel_tool_calls ?? true);
  return { tools, choice, isParallel };
}

/** A message whose calls and results are not connected yet. */
interface LooseMessage {
  readonly role: string;
  readonly name?: string;
  readonly toolCalls?: readonly { id: string; name: string; arguments: string }[];
  readonly toolCallId?: string;
  /** A call without an id, in the older form. */
  readonly functionCall?: { name: string; arguments: string };
}

/** Connects calls and results of the older form by generated ids. Adds an issue for a result without a call. */
export function connectCalls<Message extends LooseMessage>(
  messages: readonly Message[],
  ctx: Refine,
) {
  const idOf = new Map<string, string>();
  const conversation = messages.map(({ functionCall, ...message }, index) => {
    if (functionCall) {
      const id = `function_${index}`;
      idOf.set(functionCall.name, id);
      return { ...message, toolCalls: [{ id, ...functionCall }] };
    }
    if (message.role !== 'function') return message;
    return { ...message, role: 'tool' as const, toolCallId: idOf.get(message.name ?? '') ?? '' };
  });
  const orphan = findOrphan(conversation);
  if (orphan >= 0) {
    const isOlder = messages[orphan]!.role === 'function';
    const [what, field] = isOlder ? ['this function', 'name'] : ['with this id', 'tool_call_id'];
    addIssue(ctx, `no earlier message calls ${what}`, [orphan, field]);
  }
  return conversation;
}
