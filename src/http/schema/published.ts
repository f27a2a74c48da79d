// The requests for managing published adapters.
import { z } from '@hono/zod-openapi';
import { aboutFields, adapterAboutSchema } from '../../contracts/adapter-about.ts';
import { pageQuery } from './fields.ts';

const MAX_SEARCH = 64;

const owner = z.string().max(63).optional().openapi({
  description: 'This tenant (the default) or `shared`',
});

/** The query that lists adapters. */
export const adapterListQuery = z.object({
  ...pageQuery(20),
  search: z.string().max(MAX_SEARCH).optional().openapi({ description: 'Part of the name' }),
});
/** The checked query that lists adapters. */
export type AdapterListQuery = z.infer<typeof adapterListQuery>;

/** The query that selects an adapter's owner. */
export const ownerQuery = z.object({ owner });

/** The body that changes the text about an adapter. */
export const changeAboutSchema = z
  .strictObject({
    owner,
    ...z.object(aboutFields).partial().shape,
    revision: adapterAboutSchema.shape.revision.optional().openapi({
      description:
        'The revision that you have read; if it is not the newest, nothing changes (412)',
    }),
  })
  .openapi('ChangeAdapterRequest');

/** The body that moves an alias. */
export const moveAliasSchema = z
  .object({
    owner,
    version: z
      .int()
      .positive()
      .optional()
      .openapi({ description: 'The version that the alias points at' }),
    split: z
      .array(z.object({ version: z.int().positive(), percent: z.number().positive() }))
      .optional()
      .openapi({
        description: 'Instead of version: two to four versions whose percentages add up to 100',
      }),
  })
  .refine(({ version, split }) => (version === undefined) !== (split === undefined), {
    error: 'give either version or split',
    path: ['version'],
  })
  .openapi('MoveAliasRequest');

/** The body that rolls an alias back. */
export const rollbackSchema = z.object({ owner }).openapi('RollbackAliasRequest');
