// /v1/conversations: items that the server keeps for later responses. A tenant sees only its own. The routes exist only if the
// operator has enabled keeping responses.
import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import { ServeError } from '../../common/errors.ts';
import { toUnixSeconds } from '../../contracts/openai.ts';
import {
  type ConversationItem,
  conversationSchema,
  deletedConversationSchema,
  inputItemListSchema,
  responseItemSchema,
} from '../../contracts/responses.ts';
import type { Conversation, Conversations, StoredItem } from '../../conversations/conversations.ts';
import { toResponseItem } from '../dialects/kept-items.ts';
import { inputIdOf, RESPONSE_PREFIX } from '../dialects/response-draft.ts';
import {
  addItemsSchema,
  createConversationSchema,
  itemListQuery,
  updateConversationSchema,
} from '../schema/conversations.ts';
import type { HttpLimits } from '../wire/limits.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json, ownId, pathParam } from '../wire/route.ts';
import { toItemList, toListResponse } from './api-objects.ts';

const PATH = '/v1/conversations';
const ONE = `${PATH}/{id}`;
const ITEMS = `${ONE}/items`;
const ITEM = `${ITEMS}/{item}`;

/** Adds the routes. */
export function addConversationRoutes(
  app: App,
  conversations: Conversations,
  limits: HttpLimits,
): void {
  const response = json(conversationSchema);
  const { find, change } = operationsOn(conversations);
  addRoute(app, `POST ${PATH}`, {
    summary: 'Create a conversation',
    body: { schema: createConversationSchema, limits, isOptional: true },
    response,
    async handle(c, { items, metadata }) {
      const given = { items: withIds(items ?? []), metadata: metadata ?? {} };
      const { id, ...conversation } = await conversations.create(c.get('tenant').id, given);
      return toConversation(id, conversation);
    },
  });
  addRoute(app, `GET ${ONE}`, {
    summary: 'Get a conversation',
    response,
    handle: async (c) => toConversation(pathParam(c, 'id'), await find(c)),
  });
  addRoute(app, `POST ${ONE}`, {
    summary: 'Replace the metadata of a conversation',
    body: { schema: updateConversationSchema, limits },
    response,
    handle: (c, { metadata }) => change(c, (now) => ({ ...now, metadata })),
  });
  addRoute(app, `DELETE ${ONE}`, {
    summary: 'Delete a conversation; responses keep their own copy of its items',
    response: json(deletedConversationSchema),
    async handle(c) {
      const [tenant, id] = ownId(c);
      if (!(await conversations.remove(tenant, id))) throw notFound();
      return { id, object: 'conversation.deleted', deleted: true };
    },
  });
  addItemRoutes(app, conversations, limits);
}

function addItemRoutes(app: App, conversations: Conversations, limits: HttpLimits): void {
  const { find, change } = operationsOn(conversations);
  addRoute(app, `POST ${ITEMS}`, {
    summary: 'Add items to a conversation',
    body: { schema: addItemsSchema, limits },
    response: json(inputItemListSchema),
    async handle(c, { items }) {
      const added = withIds(items);
      await change(c, (now) => ({ ...now, items: [...now.items, ...added] }));
      return toListResponse({ items: added, hasMore: false }, toItem);
    },
  });
  addRoute(app, `GET ${ITEMS}`, {
    summary: 'List the items of a conversation, the newest first',
    query: itemListQuery,
    response: json(inputItemListSchema),
    handle: async (c, query) => toItemList((await find(c)).items.map(toItem), query),
  });
  addRoute(app, `GET ${ITEM}`, {
    summary: 'Get an item of a conversation',
    response: json(responseItemSchema),
    async handle(c) {
      const { items } = await find(c);
      return toItem(found(items.find(({ id }) => id === pathParam(c, 'item'))));
    },
  });
  addRoute(app, `DELETE ${ITEM}`, {
    summary: 'Delete an item of a conversation',
    response: json(conversationSchema),
    handle: (c) =>
      change(c, (now) => {
        const items = now.items.filter((item) => item.id !== pathParam(c, 'item'));
        if (items.length === now.items.length) throw notFound();
        return { ...now, items };
      }),
  });
}

/** Returns what routes do with the conversation of a request. Both reject with `ServeError` (404) if there is none. */
function operationsOn(conversations: Conversations) {
  return {
    find: async (c: Context<HttpEnv>) => found(await conversations.find(...ownId(c))),
    async change(c: Context<HttpEnv>, to: (now: Conversation) => Conversation) {
      const [tenant, id] = ownId(c);
      return toConversation(id, found(await conversations.change(tenant, id, to)));
    },
  };
}

/** Items that clients add get ids like the input of a response. */
function withIds(items: readonly ConversationItem[]): StoredItem[] {
  const part = randomUUID().replaceAll('-', '');
  return items.map((item, i) => ({ id: inputIdOf(`${RESPONSE_PREFIX}${part}`, i), item }));
}

function toItem({ id, item }: StoredItem) {
  return toResponseItem(id, item);
}

function toConversation(id: string, { createdMs, metadata }: Conversation) {
  const created_at = toUnixSeconds(createdMs);
  return { id, object: 'conversation' as const, created_at, metadata };
}

function found<T>(value: T | undefined): T {
  if (value === undefined) throw notFound();
  return value;
}

/** Leaves out the ids, because a client can send anything as one. */
function notFound(): ServeError {
  return new ServeError(
    'not_found',
    'No such conversation or item: it has expired, was deleted, or belongs to another tenant.',
    { param: 'id' },
  );
}
