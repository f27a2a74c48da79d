// The requests for managing published adapters.
import { z } from '@hono/zod-openapi';
import { MAX_COUNT } from '../../common/max-count.ts';
import { aboutFields, adapterAboutSchema } from '../../contracts/adapter-about.ts';
import { pageQuery } from './fields.ts';

const MAX_SEARCH = 64;
/** Versions have up to nine digits in the names of models and folders. */
const version = z.int().positive().max(999_999_999);

const owner = z.string().max(63).optional().describe('This tenant (the default) or `shared`');

/** The query that lists adapters. */
export const adapterListQuery = z.strictObject({
  ...pageQuery(20),
  search: z.string().max(MAX_SEARCH).optional().describe('Part of the name'),
});
/** The checked query that lists adapters. */
export type AdapterListQuery = z.infer<typeof adapterListQuery>;

/** The query that selects an adapter's owner. */
export const ownerQuery = z.strictObject({ owner });

/** The body that changes the text about an adapter. */
export const changeAboutSchema = z
  .strictObject({
    owner,
    ...z.object(aboutFields).partial().shape,
    revision: adapterAboutSchema.shape.revision
      .max(MAX_COUNT)
      .optional()
      .describe('The revision that you have read; if it is not the newest, nothing changes (412)'),
  })
  .openapi('ChangeAdapterRequest');

/** The body that moves an alias. */
export const moveAliasSchema = z
  .strictObject({
    owner,
    version: version.optional().describe('The version that the alias points at'),
    split: z
      .array(z.strictObject({ version, percent: z.number().positive().max(100) }))
      .min(2)
      .max(4)
      .optional()
      .describe('Instead of version: two to four versions whose percentages add up to 100'),
  })
  .refine(({ version, split }) => (version === undefined) !== (split === undefined), {
    error: 'give either version or split',
    path: ['version'],
  })
  .openapi('MoveAliasRequest');

/** The body that rolls an alias back. */
export const rollbackSchema = z.strictObject({ owner }).openapi('RollbackAliasRequest');
