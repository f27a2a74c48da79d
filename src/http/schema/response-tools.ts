// The tool fields of `POST /v1/responses`. They are the same as in chat, without the nesting.
import { z } from '@hono/zod-openapi';
import {
  type FunctionTool,
  functionSchema,
  MAX_TOOLS,
  refuseTwins,
} from '../../contracts/tools.ts';
import { addIssue, parseInside, type Refine, readBy } from './fields.ts';
import { CHOICE_FORM, FUNCTION_FORM, toolChoiceReader } from './tools.ts';

/** A function, and its tool as the response repeats it. */
interface ResponseTool {
  readonly function: FunctionTool;
  readonly shown: {
    readonly type: 'function';
    readonly name: string;
    readonly description: string | null;
    readonly parameters: Record<string, unknown> | null;
    readonly strict: boolean | null;
  };
}

/** Members of a function tool that only hosted tools and tool search use. */
const HOSTED_MEMBERS = ['allowed_callers', 'defer_loading', 'output_schema'];

function toTool(value: unknown, ctx: Refine): ResponseTool | undefined {
  const code = 'unsupported_parameter';
  const { type, ...members } = (value ?? {}) as Record<string, unknown>;
  if (type !== 'function') {
    return addIssue(ctx, 'only tools of type function are supported', { path: ['type'], code });
  }
  for (const member of HOSTED_MEMBERS) {
    if (members[member]) {
      return addIssue(ctx, 'is not supported by this server', { path: [member], code });
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
export const responseToolsSchema = z
  .array(z.unknown().transform(toTool))
  .max(MAX_TOOLS, `at most ${MAX_TOOLS} are allowed`)
  .transform((tools) => tools as ResponseTool[])
  .superRefine((tools, ctx) => {
    refuseTwins((index) => [index, 'name'])(
      tools.map((tool) => tool.function),
      ctx,
    );
  })
  .openapi({ type: 'array', maxItems: MAX_TOOLS, items: toolForm });

const namedTool = z.strictObject({ type: z.literal('function'), name: z.string() });

const choiceObject = z.discriminatedUnion('type', [
  namedTool,
  z.strictObject({
    type: z.literal('allowed_tools'),
    mode: z.enum(['auto', 'required']),
    tools: z.array(namedTool).min(1).max(MAX_TOOLS),
  }),
]);

/** The choice between tools. */
export const responseToolChoiceSchema = readBy(
  toolChoiceReader(choiceObject, (choice) => {
    if (choice.type === 'function') {
      return { mode: 'required', names: [choice.name], isOne: true, places: [['name']] };
    }
    const names = choice.tools.map(({ name }) => name);
    return { mode: choice.mode, names, places: names.map((_, i) => ['tools', i, 'name']) };
  }),
  CHOICE_FORM,
);
