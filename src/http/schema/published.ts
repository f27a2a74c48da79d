// What requests about published adapters may say.
import { z } from '@hono/zod-openapi';
import { integerText } from './fields.ts';

const MAX_LIMIT = 100;
const MAX_SEARCH = 64;

const owner = z.string().max(63).optional().openapi({
  description: 'The tenant itself (the default), or `shared`',
});

export const adapterListQuery = z.object({
  after: z
    .string()
    .max(128)
    .optional()
    .openapi({ description: 'The id of the last item of the page before' }),
  limit: integerText(1, MAX_LIMIT).default(20),
  search: z.string().max(MAX_SEARCH).optional().openapi({ description: 'A part of the name' }),
});
export type AdapterListQuery = z.infer<typeof adapterListQuery>;

export const ownerQuery = z.object({ owner });
export type OwnerQuery = z.infer<typeof ownerQuery>;

export const moveAliasSchema = z
  .object({
    owner,
    version: z.int().positive().optional().openapi({ description: 'The one that it leads to' }),
    split: z
      .array(z.object({ version: z.int().positive(), percent: z.number().positive() }))
      .optional()
      .openapi({ description: 'Or shares of two to four versions that add up to 100' }),
  })
  .refine(({ version, split }) => (version === undefined) !== (split === undefined), {
    error: 'give either version or split',
    path: ['version'],
  })
  .openapi('MoveAliasRequest');
export type MoveAliasBody = z.infer<typeof moveAliasSchema>;

export const rollbackSchema = z.object({ owner }).openapi('RollbackAliasRequest');
