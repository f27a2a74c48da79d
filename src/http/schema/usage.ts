// The query of the usage route.
import { z } from '@hono/zod-openapi';
import { integerText, MAX_UNIX_SECONDS } from './fields.ts';

/** The fields that results can be grouped by. A project is a tenant. */
const USAGE_GROUPS = ['project_id', 'model', 'batch'] as const;
/** OpenAI's limits of a page of days. */
const DEFAULT_DAYS = 7;
const MAX_DAYS = 31;

const time = integerText(0, MAX_UNIX_SECONDS);
const list = z
  .string()
  .max(8192)
  .transform((text) => text.split(',').filter(Boolean))
  .openapi({ type: 'array', items: { type: 'string' } });

/** The query. */
export const usageQuery = z
  .strictObject({
    start_time: time,
    end_time: time.optional().describe('Default: now'),
    bucket_width: z.literal('1d', 'must be 1d, because usage is counted by day').default('1d'),
    group_by: list
      .pipe(z.array(z.enum(USAGE_GROUPS, `must be of ${USAGE_GROUPS.join(', ')}`)))
      .default([])
      .openapi({
        type: 'array',
        items: { type: 'string', enum: [...USAGE_GROUPS] },
        description: 'A project is a tenant',
      }),
    project_ids: list.optional().describe('Tenants; only an admin key sees others'),
    models: list.optional(),
    batch: z
      .enum(['true', 'false'], 'must be true or false')
      .transform((text) => text === 'true')
      .optional()
      .openapi({ type: 'boolean' }),
    limit: integerText(1, MAX_DAYS).default(DEFAULT_DAYS).describe('Days'),
    page: time.optional().describe('next_page of the previous page'),
  })
  .refine(({ start_time: start, end_time: end }) => end === undefined || end > start, {
    message: 'must be after start_time',
    path: ['end_time'],
  });
/** A checked query. */
export type UsageQuery = z.infer<typeof usageQuery>;
