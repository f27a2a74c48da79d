// The field `text` of `POST /v1/responses`: the format of the answer. It is chat's `response_format` without the nesting.
import { z } from '@hono/zod-openapi';
import type { GivenConstraint } from './constraints.ts';
import { onlyValue } from './field-table.ts';
import { addIssue, type Refine } from './fields.ts';

/** A format: the constraint of the answer, if it has one, with its path in the body, and what the answer repeats. */
export interface TextFormat {
  readonly given: GivenConstraint | undefined;
  readonly shown: { readonly type: string; readonly [member: string]: unknown };
}

const TYPES = ['text', 'json_object', 'json_schema'];
/** The member of chat's format that holds the schema. */
const NESTING = 'json_schema';

/** Returns a reader of formats that are present. @param chatFormat the schema of chat's `response_format` */
function formatReader(chatFormat: z.ZodType<GivenConstraint | undefined>) {
  return (value: unknown, ctx: Refine): TextFormat | undefined => {
    if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
    const shown = value as TextFormat['shown'];
    const { type, ...members } = shown;
    if (!TYPES.includes(type)) {
      return addIssue(ctx, `must be ${TYPES.join(', ')}`, { path: ['type'] });
    }
    const nested = type === NESTING ? { type, [NESTING]: members } : shown;
    const result = chatFormat.safeParse(nested);
    const flat = (path: readonly PropertyKey[]) => (path[0] === NESTING ? path.slice(1) : path);
    if (result.success) {
      const given = result.data;
      const path = given?.path && ['text', 'format', ...flat(given.path)];
      return { given: given && { ...given, ...(path && { path }) }, shown };
    }
    for (const { path, ...issue } of result.error.issues) {
      const placed = { ...issue, path: flat(path), input: value };
      ctx.addIssue(placed as Parameters<Refine['addIssue']>[0]);
    }
    return undefined;
  };
}

/** The schema of the field. */
export function responseTextSchema(chatFormat: z.ZodType<GivenConstraint | undefined>) {
  const read = formatReader(chatFormat);
  const format = z
    .unknown()
    .optional()
    .transform((value, ctx) => (value == null ? undefined : read(value, ctx)))
    .openapi({
      type: 'object',
      properties: {
        type: { enum: TYPES },
        name: { type: 'string' },
        schema: { type: 'object', additionalProperties: true },
        strict: { type: 'boolean' },
      },
      required: ['type'],
    });
  return z.strictObject({ format, verbosity: onlyValue('medium') }).nullish();
}
