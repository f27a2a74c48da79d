// The field `text` of `POST /v1/responses`: the format of the answer. It is chat's `response_format` without the nesting.
import { z } from '@hono/zod-openapi';
import type { Constraint } from '../../contracts/generation.ts';
import { onlyValue } from './field-table.ts';
import { addIssue, type Refine } from './fields.ts';

/** A format: the constraint of the answer, if it has one, and what the answer repeats. */
export interface TextFormat {
  readonly constraint: Constraint | undefined;
  readonly shown: { readonly type: string; readonly [member: string]: unknown };
}

const TYPES = ['text', 'json_object', 'json_schema'];
/** The member of chat's format that holds the schema. */
const NESTING = 'json_schema';

/** Returns a reader of formats that are present. @param chatFormat the schema of chat's `response_format` */
function formatReader(chatFormat: z.ZodType<Constraint | undefined>) {
  return async (value: unknown, ctx: Refine): Promise<TextFormat | undefined> => {
    if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
    const shown = value as TextFormat['shown'];
    const { type, ...members } = shown;
    if (!TYPES.includes(type)) {
      return addIssue(ctx, `must be ${TYPES.join(', ')}`, { path: ['type'] });
    }
    const nested = type === NESTING ? { type, [NESTING]: members } : shown;
    const result = await chatFormat.safeParseAsync(nested);
    if (result.success) return { constraint: result.data, shown };
    for (const { path, ...issue } of result.error.issues) {
      const flat = path[0] === NESTING ? path.slice(1) : path;
      ctx.addIssue({ ...issue, path: flat, input: value } as Parameters<Refine['addIssue']>[0]);
    }
    return undefined;
  };
}

/** The schema of the field. */
export function responseTextSchema(chatFormat: z.ZodType<Constraint | undefined>) {
  const read = formatReader(chatFormat);
  const format = z
    .unknown()
    .optional()
    // The library's document parses nothing and null, which therefore must not need a promise.
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
