// The requests of the batch API.
import { z } from '@hono/zod-openapi';
import { BATCH_ENDPOINTS } from '../../contracts/batch-status.ts';
import { metadataSchema, pageQuery } from './fields.ts';

/** The shortest and the longest life of a file that expires, in seconds. */
export const FILE_LIFE_S = [3600, 30 * 24 * 3600] as const;

/** When a file is deleted. */
export const fileExpirySchema = z.strictObject({
  anchor: z.literal('created_at', 'must be created_at'),
  seconds: z.int().min(FILE_LIFE_S[0]).max(FILE_LIFE_S[1]),
});

/** The body that creates a batch. */
export const createBatchSchema = z
  .strictObject({
    input_file_id: z.string().describe('An upload with the purpose batch'),
    endpoint: z.enum(BATCH_ENDPOINTS, `must be one of ${BATCH_ENDPOINTS.join(', ')}`),
    completion_window: z.literal('24h', 'must be 24h'),
    metadata: metadataSchema.nullish(),
    output_expires_after: fileExpirySchema.nullish(),
  })
  .openapi('CreateBatchRequest');

/** A checked body that creates a batch. */
export type CreateBatchBody = z.infer<typeof createBatchSchema>;

/** The query that lists batches. */
export const batchListQuery = z.strictObject(pageQuery(20));
