// The fields of a request that constrain its answer, as OpenAI, vLLM and llama.cpp spell them. Each becomes a constraint, or an
// issue that names the keyword at fault.
import { z } from '@hono/zod-openapi';
import type { Constraint } from '../../contracts/generation.ts';
import { checkConstraint } from '../../grammar/constraint.ts';
import { GrammarError } from '../../grammar/text-pattern.ts';
import { both } from './field-table.ts';
import { addIssue, type Refine } from './fields.ts';

const ANY_OBJECT: Constraint = { kind: 'json_schema', schema: { type: 'object' } };

/** Returns the constraint, or adds an issue that says why it cannot be used. */
function checked(constraint: Constraint, ctx: Refine, path: PropertyKey[] = []): Constraint {
  try {
    checkConstraint(constraint);
    return constraint;
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    const place = error.path === '' ? '' : `${error.path} `;
    return addIssue(ctx, `${place}${error.message}`, { path });
  }
}

const MAX_NAME_LENGTH = 64;

const jsonSchemaFormat = z.strictObject({
  type: z.literal('json_schema'),
  json_schema: z.strictObject({
    name: z.string().max(MAX_NAME_LENGTH).optional(),
    description: z.string().optional(),
    schema: z.unknown().optional(),
    strict: z.boolean().nullish(),
  }),
});

/** OpenAI's `response_format`, and llama-server's `{"type": "json_object", "schema": …}`. */
function toResponseFormat(value: unknown, ctx: Refine): Constraint | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object') return addIssue(ctx, 'expected an object');
  const { type, ...rest } = value as Record<string, unknown>;
  if (type === 'text' && Object.keys(rest).length === 0) return undefined;
  if (type === 'json_object') {
    const unknown = Object.keys(rest).find((name) => name !== 'schema');
    if (unknown !== undefined) return addIssue(ctx, 'is not known', { path: [unknown] });
    if (rest['schema'] == null) return ANY_OBJECT;
    return checked({ kind: 'json_schema', schema: rest['schema'] }, ctx, ['schema']);
  }
  if (type !== 'json_schema') {
    return addIssue(ctx, 'must be text, json_object or json_schema', { path: ['type'] });
  }
  const format = jsonSchemaFormat.safeParse(value);
  if (!format.success) {
    for (const issue of format.error.issues) ctx.addIssue({ ...issue, input: value } as never);
    return undefined;
  }
  const { schema } = format.data.json_schema;
  if (schema === undefined) return ANY_OBJECT;
  return checked({ kind: 'json_schema', schema }, ctx, ['json_schema', 'schema']);
}

/** The rows of the table of fields. */
export const CONSTRAINT_FIELDS = {
  response_format: both(
    z
      .unknown()
      .optional()
      .transform(toResponseFormat)
      .openapi({ type: 'object', additionalProperties: true }),
    'text, json_object, or json_schema with a JSON Schema that the answer satisfies',
  ),
};
