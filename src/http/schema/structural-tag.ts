// Reads structural tags, as vLLM and XGrammar write them: text with tags whose content is constrained.
import { z } from '@hono/zod-openapi';
import type { ConstrainedTag, Constraint } from '../../contracts/generation.ts';

const anySchema = z.union([z.boolean(), z.record(z.string(), z.unknown())]);
const flag = z.boolean().optional();

const tagSchema = z.strictObject({
  type: z.literal('tag').optional(),
  begin: z.string().min(1),
  get content() {
    return formatSchema;
  },
  end: z.string(),
});

/** Returns the schema of one type of part. */
function part<Shape extends z.ZodRawShape>(
  type: string,
  shape: Shape,
  toConstraint: (part: z.output<z.ZodObject<Shape>>) => Constraint,
) {
  const schema = z.strictObject({ type: z.literal(type), ...shape });
  return schema.transform((value) => toConstraint(value as z.output<z.ZodObject<Shape>>));
}

/** The options of a part with several tags. */
const tagOptions = { at_least_one: flag, stop_after_first: flag };

/** The parts of a structural tag. The body's limit of nesting also bounds nested parts. */
const formatSchema: z.ZodType<Constraint> = z.lazy(() => {
  const elements = z.array(formatSchema).min(1);
  const tags = z.array(tagSchema).min(1);
  return z.union([
    part('any_text', {}, () => ({ kind: 'any_text' })),
    part('const_string', { value: z.string() }, ({ value: text }) => ({ kind: 'text', text })),
    part('json_schema', { json_schema: anySchema }, ({ json_schema: schema }) => {
      return { kind: 'json_schema', schema };
    }),
    part('regex', { pattern: z.string() }, ({ pattern }) => ({ kind: 'regex', pattern })),
    part('grammar', { grammar: z.string() }, ({ grammar: source }) => {
      return { kind: 'grammar', source };
    }),
    part('sequence', { elements }, ({ elements: parts }) => ({ kind: 'sequence', parts })),
    part('or', { elements }, ({ elements: options }) => ({ kind: 'any_of', options })),
    tagSchema
      .required({ type: true })
      .transform((tag): Constraint => toTags([tag], { isRequired: true, isSingle: true })),
    part(
      'triggered_tags',
      { triggers: z.array(z.string().min(1)).min(1), tags, ...tagOptions },
      ({ tags, triggers, ...options }) => toTags(tags, { triggers, ...toRules(options) }),
    ),
    part(
      'tags_with_separator',
      { tags, separator: z.string(), ...tagOptions },
      ({ tags, separator, ...options }) => toTags(tags, { separator, ...toRules(options) }),
    ),
  ]);
});

function toRules({
  at_least_one: isRequired = false,
  stop_after_first: isSingle = false,
}: {
  at_least_one?: boolean | undefined;
  stop_after_first?: boolean | undefined;
}) {
  return { isRequired, isSingle };
}

/** The older form: schemas between begin and end texts. */
const structuresSchema = z
  .strictObject({
    type: z.literal('structural_tag').optional(),
    structures: z
      .array(z.strictObject({ begin: z.string().min(1), schema: anySchema, end: z.string() }))
      .min(1),
    triggers: z.array(z.string().min(1)).min(1),
  })
  .transform(({ structures, triggers }): Constraint => {
    const tags = structures.map(({ begin, schema, end }) => {
      return { begin, content: { kind: 'json_schema' as const, schema }, end };
    });
    return toTags(tags, { triggers });
  });

/** A structural tag in either form. */
export const structuralTagSchema = z.union([
  z
    .strictObject({ type: z.literal('structural_tag').optional(), format: formatSchema })
    .transform(({ format }) => format),
  structuresSchema,
]);

function toTags(
  tags: readonly { begin: string; content: Constraint; end: string }[],
  options: Partial<Extract<Constraint, { kind: 'tags' }>>,
): Constraint {
  const plain = tags.map(({ begin, content, end }): ConstrainedTag => ({ begin, content, end }));
  return { kind: 'tags', triggers: [], tags: plain, ...options };
}
