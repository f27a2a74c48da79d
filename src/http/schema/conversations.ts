// The requests of /v1/conversations.
import { z } from '@hono/zod-openapi';
import { addUnsupported } from '../../common/schema-issues.ts';
import type { ConversationItem } from '../../contracts/responses.ts';
import { metadataSchema, orderQuery, pageQuery } from './fields.ts';
import { inputItemsSchema } from './response-items.ts';

/** As in OpenAI's API. */
const MAX_ITEMS = 20;

/** Items that a client adds. They cannot refer to others. */
const itemsSchema = inputItemsSchema(MAX_ITEMS)
  .transform((items, ctx): ConversationItem[] =>
    items.flatMap((item, i) => {
      if (item.type === 'reasoning') return [];
      if (item.type !== 'item_reference') return [item];
      const message = 'references are only supported in the input of a response';
      return addUnsupported(ctx, message, [i, 'type']);
    }),
  )
  .openapi({
    type: 'array',
    maxItems: MAX_ITEMS,
    items: { $ref: '#/components/schemas/ResponseInputItem' },
  });

/** The body that creates a conversation. */
export const createConversationSchema = z
  .strictObject({
    items: itemsSchema.nullish().openapi({ type: ['array', 'null'] }),
    metadata: metadataSchema.nullish(),
  })
  .openapi('CreateConversationRequest');

/** The body that replaces a conversation's metadata. */
export const updateConversationSchema = z
  .strictObject({ metadata: metadataSchema })
  .openapi('UpdateConversationRequest');

/** The body that adds items. */
export const addItemsSchema = z
  .strictObject({ items: itemsSchema })
  .openapi('AddConversationItemsRequest');

/** The query that lists the items of a conversation or of a response. */
export const itemListQuery = z.strictObject({ ...pageQuery(20), order: orderQuery });

/** A checked query that lists items. */
export type ItemListQuery = z.infer<typeof itemListQuery>;
