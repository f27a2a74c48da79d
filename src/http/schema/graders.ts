// The requests that check and run graders.
import { z } from '@hono/zod-openapi';
import { parseInside } from '../../common/schema-issues.ts';
import { graderSchema } from '../../graders/schema.ts';
import { MAX_GRADED_TEXT } from '../../graders/template.ts';

const form = {
  type: 'object',
  description: 'A grader: string_check, text_similarity, score_model, python or multi',
} as const;

/** A grader that is checked, and stays as it was sent. */
export const checkedGraderSchema = z
  .unknown()
  .superRefine((grader, ctx) => void parseInside(graderSchema, grader, ctx))
  .openapi(form);

/** The body that checks a grader. */
export const validateGraderSchema = z
  .strictObject({ grader: checkedGraderSchema })
  .openapi('ValidateGraderRequest');

/** The body that runs a grader on one output. */
export const runGraderSchema = z
  .strictObject({
    grader: z.unknown().pipe(graderSchema).openapi(form),
    model_sample: z.string().max(MAX_GRADED_TEXT),
    item: z.unknown().optional(),
  })
  .openapi('RunGraderRequest');
