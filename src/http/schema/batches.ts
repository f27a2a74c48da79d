// The requests of the batch API.
import { z } from '@hono/zod-openapi';
import { BATCH_ENDPOINTS } from '../../contracts/batch-status.ts';
import { metadataSchema, pageQuery } from './fields.ts';

const HOUR_S = 3600;
const MAX_EXPIRY_S = 30 * 24 * HOUR_S;

/** When a file with results is deleted. */
const outputExpirySchema = z.strictObject({
  anchor: z.literal('created_at', 'must be created_at'),
  seconds: z.int().min(HOUR_S).max(MAX_EXPIRY_S),
});

/** The body that creates a batch. */
export const createBatchSchema = z
  .strictObject({
    input_file_id: z.string().describe('An upload with the purpose batch'),
    endpoint: z.enum(BATCH_ENDPOINTS, `must be one of ${BATCH_ENDPOINTS.join(', ')}`),
    completion_window: z.literal('24h', 'must be 24h'),
    metadata: metadataSchema.nullish(),
    output_expires_after: outputExpirySchema.nullish(),
  })
  .openapi('CreateBatchRequest');

/** A checked body that creates a batch. */
export type CreateBatchBody = z.infer<typeof createBatchSchema>;

/** The query that lists batches. */
export const batchListQuery = z.strictObject(pageQuery(20));
