// The batch object of OpenAI's API.
import { z } from '@hono/zod-openapi';
import { BATCH_ENDPOINTS, BATCH_STATUSES } from './batch-status.ts';
import { listOf, unixSeconds } from './openai.ts';

const batchTime = unixSeconds.optional();

export const batchObjectSchema = z
  .object({
    id: z.string(),
    object: z.literal('batch'),
    endpoint: z.enum(BATCH_ENDPOINTS),
    model: z.string().optional().describe('Absent if lines name different models'),
    errors: z
      .object({
        object: z.literal('list'),
        data: z.array(
          z.object({
            code: z.string(),
            message: z.string(),
            line: z.int().nullable(),
            param: z.string().nullable(),
          }),
        ),
      })
      .optional(),
    input_file_id: z.string(),
    completion_window: z.literal('24h'),
    status: z.enum(BATCH_STATUSES),
    output_file_id: z.string().optional(),
    error_file_id: z.string().optional(),
    created_at: unixSeconds,
    in_progress_at: batchTime,
    expires_at: unixSeconds,
    finalizing_at: batchTime,
    completed_at: batchTime,
    failed_at: batchTime,
    expired_at: batchTime,
    cancelling_at: batchTime,
    cancelled_at: batchTime,
    request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
    usage: z.object({
      input_tokens: z.int(),
      input_tokens_details: z.object({ cached_tokens: z.int() }),
      output_tokens: z.int(),
      output_tokens_details: z.object({ reasoning_tokens: z.literal(0) }),
      total_tokens: z.int(),
    }),
    metadata: z.record(z.string(), z.string()).nullable(),
  })
  .openapi('Batch');
/** A batch. */
export type BatchObject = z.infer<typeof batchObjectSchema>;

export const batchListSchema = listOf(batchObjectSchema).openapi('BatchList');
