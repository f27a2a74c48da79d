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

/** The parts of a structural tag. The body's limit of nesting also bounds nested parts. */
const formatSchema: z.ZodType<Constraint> = z.lazy(() =>
  z.union([
    z
      .strictObject({ type: z.literal('any_text') })
      .transform((): Constraint => ({ kind: 'any_text' })),
    z
      .strictObject({ type: z.literal('const_string'), value: z.string() })
      .transform(({ value }): Constraint => ({ kind: 'text', text: value })),
    z
      .strictObject({ type: z.literal('json_schema'), json_schema: anySchema })
      .transform(({ json_schema }): Constraint => ({ kind: 'json_schema', schema: json_schema })),
    z
      .strictObject({ type: z.literal('regex'), pattern: z.string() })
      .transform(({ pattern }): Constraint => ({ kind: 'regex', pattern })),
    z
      .strictObject({ type: z.literal('grammar'), grammar: z.string() })
      .transform(({ grammar }): Constraint => ({ kind: 'grammar', source: grammar })),
    z
      .strictObject({ type: z.literal('sequence'), elements: z.array(formatSchema).min(1) })
      .transform(({ elements }): Constraint => ({ kind: 'sequence', parts: elements })),
    z
      .strictObject({ type: z.literal('or'), elements: z.array(formatSchema).min(1) })
      .transform(({ elements }): Constraint => ({ kind: 'any_of', options: elements })),
    tagSchema
      .required({ type: true })
      .transform((tag): Constraint => toTags([tag], { isRequired: true, isSingle: true })),
    z
      .strictObject({
        type: z.literal('triggered_tags'),
        triggers: z.array(z.string().min(1)).min(1),
        tags: z.array(tagSchema).min(1),
        at_least_one: flag,
        stop_after_first: flag,
      })
      .transform(
        ({
          triggers,
          tags,
          at_least_one: isRequired = false,
          stop_after_first: isSingle = false,
        }) => toTags(tags, { triggers, isRequired, isSingle }),
      ),
    z
      .strictObject({
        type: z.literal('tags_with_separator'),
        tags: z.array(tagSchema).min(1),
        separator: z.string(),
        at_least_one: flag,
        stop_after_first: flag,
      })
      .transform(
        ({
          tags,
          separator,
          at_least_one: isRequired = false,
          stop_after_first: isSingle = false,
        }) => toTags(tags, { separator, isRequired, isSingle }),
      ),
  ]),
);

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
