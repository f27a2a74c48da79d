// What requests of the Files API may say.
import { z } from '@hono/zod-openapi';
import { integerText } from './fields.ts';

/** OpenAI's others are for features that are not here. */
const UPLOAD_PURPOSE = 'fine-tune';

const HOUR_S = 3600;
const MAX_EXPIRY_S = 30 * 24 * HOUR_S;
const MAX_LIMIT = 10_000;

const wanted = z.unknown().refine((value) => value === UPLOAD_PURPOSE, {
  error: ({ input }) =>
    input === undefined ? 'is required' : 'must be fine-tune; files have no other use here',
});

/** The form's fields, flat as they are sent. */
export const uploadFieldsSchema = z.strictObject({
  purpose: wanted,
  'expires_after[anchor]': z.literal('created_at').optional(),
  'expires_after[seconds]': integerText(HOUR_S, MAX_EXPIRY_S).optional(),
});

/** As the API's document shows it. */
export const uploadFormSchema = z
  .object({
    file: z.string().openapi({ format: 'binary', description: 'JSON lines' }),
    purpose: z.literal(UPLOAD_PURPOSE),
    expires_after: z
      .strictObject({
        anchor: z.literal('created_at'),
        seconds: z.int().min(HOUR_S).max(MAX_EXPIRY_S),
      })
      .optional(),
  })
  .openapi('CreateFileRequest');

export const fileListSchema = z.strictObject({
  purpose: z.string().max(64).optional(),
  after: z.string().max(128).optional(),
  limit: integerText(1, MAX_LIMIT).default(MAX_LIMIT),
  order: z.enum(['asc', 'desc']).default('desc'),
});
