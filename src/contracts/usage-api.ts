// The responses of the usage route, in the form of OpenAI's API. A project is a tenant.
import { z } from '@hono/zod-openapi';
import { unixSeconds } from './openai.ts';

const tokens = z.int();

const usageResultSchema = z
  .object({
    object: z.literal('organization.usage.completions.result'),
    input_tokens: tokens.describe('Prompt tokens, cached ones included'),
    input_cached_tokens: tokens,
    output_tokens: tokens,
    input_audio_tokens: z.literal(0),
    output_audio_tokens: z.literal(0),
    num_model_requests: z.int(),
    project_id: z.string().nullable().describe('The tenant, with group_by=project_id'),
    model: z.string().nullable().describe('The base or an adapter, with group_by=model'),
    batch: z.boolean().nullable(),
    user_id: z.null(),
    api_key_id: z.null(),
    service_tier: z.null(),
  })
  .openapi('UsageResult');
/** The sums of a group. */
export type UsageResult = z.infer<typeof usageResultSchema>;

export const usagePageSchema = z
  .object({
    object: z.literal('page'),
    data: z.array(
      z.object({
        object: z.literal('bucket'),
        start_time: unixSeconds,
        end_time: unixSeconds,
        results: z.array(usageResultSchema),
      }),
    ),
    has_more: z.boolean(),
    next_page: z.string().nullable(),
  })
  .openapi('UsagePage');
/** Days with their sums. */
export type UsagePage = z.infer<typeof usagePageSchema>;
