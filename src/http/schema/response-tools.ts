// The tool fields of `POST /v1/responses`. Functions are the same as in chat, without the nesting. A custom tool takes a text:
// the model sees a function with the argument `input`.
import { z } from '@hono/zod-openapi';
import { addUnsupported, parseInside, type Refine } from '../../common/schema-issues.ts';
import type { ResponseSettings } from '../../contracts/responses.ts';
import {
  calledFunctionSchema,
  type FunctionTool,
  functionSchema,
  MAX_TOOLS,
} from '../../contracts/tools.ts';
import { readBy, unsupported } from './fields.ts';
import { CHOICE_FORM, FUNCTION_FORM, toolChoiceReader, toolListSchema } from './tools.ts';

/** A function, and its tool as the response repeats it. */
interface ResponseTool {
  readonly function: FunctionTool;
  readonly shown: ResponseSettings['tools'][number];
}

/** Members of a function tool that only hosted tools and tool search use. */
const HOSTED_MEMBERS = ['allowed_callers', 'defer_loading', 'output_schema'];

const textFormat = z.strictObject({ type: z.literal('text') });
const grammarFormat = z.strictObject({
  type: z.literal('grammar'),
  syntax: z
    .string()
    .refine((syntax) => syntax === 'regex', unsupported('only regex is supported by this server'))
    .transform(() => 'regex' as const),
  definition: z.string(),
});
const customSchema = z.strictObject({
  type: z.literal('custom'),
  name: z.string().pipe(calledFunctionSchema.shape.name),
  description: z.string().nullish(),
  format: z.discriminatedUnion('type', [textFormat, grammarFormat]).nullish(),
});

function toCustomTool(value: unknown, ctx: Refine): ResponseTool | undefined {
  const tool = parseInside(customSchema, value, ctx);
  if (!tool) return undefined;
  const { name, description, format } = tool;
  const pattern = format?.type === 'grammar' ? `^(?:${format.definition})$` : undefined;
  const input = { type: 'string', ...(pattern !== undefined && { pattern }) };
  const described = { name, ...(description != null && { description }) };
  return {
    function: {
      ...described,
      parameters: {
        type: 'object',
        properties: { input },
        required: ['input'],
        additionalProperties: false,
      },
    },
    shown: { type: 'custom', ...described, format: format ?? { type: 'text' } },
  };
}

function toTool(value: unknown, ctx: Refine): ResponseTool | undefined {
  const { type, ...members } = (value ?? {}) as Record<string, unknown>;
  if (type === 'custom') return toCustomTool(value, ctx);
  if (type !== 'function') {
    const message = 'only tools of type function and custom are supported';
    return addUnsupported(ctx, message, ['type']);
  }
  for (const member of HOSTED_MEMBERS) {
    if (members[member]) {
      return addUnsupported(ctx, 'is not supported by this server', [member]);
    }
    delete members[member];
  }
  const tool = parseInside(functionSchema, members, ctx);
  if (!tool) return undefined;
  const { name, description = null, parameters = null } = tool;
  const strict = (members['strict'] as boolean | null | undefined) ?? null;
  return { function: tool, shown: { type, name, description, parameters, strict } };
}

const toolForm = {
  ...FUNCTION_FORM,
  properties: { type: { const: 'function' }, ...FUNCTION_FORM.properties },
  required: ['type', 'name'],
};

/** The tools of a request. */
export const responseToolsSchema = toolListSchema(toTool, (tool) => tool.function, toolForm);

const name = z.string();
const namedFunction = z.strictObject({ type: z.literal('function'), name });
const namedCustom = z.strictObject({ type: z.literal('custom'), name });
const namedTool = z.discriminatedUnion('type', [namedFunction, namedCustom]);

const choiceObject = z.discriminatedUnion('type', [
  namedFunction,
  namedCustom,
  z.strictObject({
    type: z.literal('allowed_tools'),
    mode: z.enum(['auto', 'required']),
    tools: z.array(namedTool).min(1).max(MAX_TOOLS),
  }),
]);

/** The choice between tools. */
export const responseToolChoiceSchema = readBy(
  toolChoiceReader(
    choiceObject,
    (choice) => {
      if (choice.type !== 'allowed_tools') {
        return { mode: 'required', names: [choice.name], isOne: true, places: [['name']] };
      }
      const names = choice.tools.map(({ name }) => name);
      return { mode: choice.mode, names, places: names.map((_, i) => ['tools', i, 'name']) };
    },
    ['function', 'custom', 'allowed_tools'],
  ),
  CHOICE_FORM,
);
