// The routes that generate text, one for each dialect, and those that only build its prompts. The steps are the same for all:
// read the request, queue, plan, run.
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { renderedSchema } from '../../contracts/management-api.ts';
import { messageSchema, messageTokensSchema } from '../../contracts/messages.ts';
import {
  chatChunkSchema,
  chatCompletionSchema,
  completionChunkSchema,
  completionSchema,
} from '../../contracts/openai.ts';
import { responseSchema, responseTokensSchema } from '../../contracts/responses.ts';
import type { Deps } from '../deps.ts';
import { CHAT } from '../dialects/chat.ts';
import { COMPLETIONS } from '../dialects/completions.ts';
import { MESSAGES } from '../dialects/messages.ts';
import { responsesDialect } from '../dialects/responses.ts';
import { enterQueue, waitingRoute } from '../generation/admission.ts';
import { respond } from '../generation/respond.ts';
import type { Dialect, GenerationBody, GenerationInput } from '../request/dialect.ts';
import { buildPrompts, planGeneration, type ReadRequest } from '../request/prepare-generation.ts';
import { chatMessageSchema, chatRequestSchema } from '../schema/chat.ts';
import { completionRequestSchema } from '../schema/completions.ts';
import { inputMessageSchema } from '../schema/message-blocks.ts';
import { messageCountSchema, messageRequestSchema } from '../schema/messages.ts';
import { inputItemSchema } from '../schema/response-items.ts';
import { responseRequestSchema } from '../schema/responses.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json, jsonOrEvents, type Route } from '../wire/route.ts';

/** Adds the routes of completions. */
export function addCompletionRoutes(app: App, deps: Deps): void {
  const schema = completionRequestSchema({ ...deps.model, limits: deps.limits });
  app.openAPIRegistry.register('CompletionChunk', completionChunkSchema);
  addGeneration(app, deps, COMPLETIONS, {
    path: '/v1/completions',
    summary: 'Complete a prompt',
    schema,
    response: jsonOrEvents(completionSchema, 'Events with a CompletionChunk each, then `[DONE]`'),
  });
  addPreparation(app, deps, COMPLETIONS, {
    path: '/v1/completions/render',
    summary: 'Turn the prompts of a completion into tokens',
    schema,
    response: json(z.array(renderedSchema)),
    show: async (c, request) => toRendered(c, deps, request),
  });
}

/** Adds the routes of chat. */
export function addChatRoutes(app: App, deps: Deps): void {
  const schema = chatRequestSchema({ ...deps.model, limits: deps.limits });
  app.openAPIRegistry.register('ChatMessage', chatMessageSchema);
  app.openAPIRegistry.register('ChatCompletionChunk', chatChunkSchema);
  addGeneration(app, deps, CHAT, {
    path: '/v1/chat/completions',
    summary: 'Answer a conversation',
    schema,
    response: jsonOrEvents(
      chatCompletionSchema,
      'Events with a ChatCompletionChunk each, then `[DONE]`',
    ),
  });
  addPreparation(app, deps, CHAT, {
    path: '/v1/chat/completions/render',
    summary: 'Turn a conversation into tokens',
    schema,
    response: json(renderedSchema),
    show: async (c, request) => (await toRendered(c, deps, request))[0]!,
  });
}

/** Adds the routes of responses. */
export function addResponseRoutes(app: App, deps: Deps): void {
  const keepsResponses = deps.keptResponses !== undefined;
  const schema = responseRequestSchema({ ...deps.model, limits: deps.limits, keepsResponses });
  const dialect = responsesDialect(deps);
  app.openAPIRegistry.register('ResponseInputItem', inputItemSchema);
  addGeneration(app, deps, dialect, {
    path: '/v1/responses',
    summary: 'Answer a text or items, as a response object',
    schema,
    response: jsonOrEvents(
      responseSchema,
      'Typed events, from `response.created` to `response.completed`',
    ),
  });
  addPreparation(app, deps, dialect, {
    path: '/v1/responses/input_tokens',
    summary: 'Count the tokens of the same prompt, without an answer',
    schema,
    response: json(responseTokensSchema),
    async show(c, request) {
      const { promptTokens } = await buildPrompts(c, deps, request);
      return { object: 'response.input_tokens', input_tokens: promptTokens };
    },
  });
}

/** Adds the routes of messages. */
export function addMessageRoutes(app: App, deps: Deps): void {
  const bounds = { ...deps.model, limits: deps.limits };
  app.openAPIRegistry.register('InputMessage', inputMessageSchema);
  addGeneration(app, deps, MESSAGES, {
    path: '/v1/messages',
    summary: "Answer a conversation in the form of Anthropic's API",
    schema: messageRequestSchema(bounds),
    response: jsonOrEvents(messageSchema, 'Typed events, from `message_start` to `message_stop`'),
  });
  addPreparation(app, deps, MESSAGES, {
    path: '/v1/messages/count_tokens',
    summary: 'Count the tokens of the same prompt, without an answer',
    schema: messageCountSchema(bounds),
    response: json(messageTokensSchema),
    show: async (c, request) => ({
      input_tokens: (await buildPrompts(c, deps, request)).promptTokens,
    }),
  });
}

/** A route of a dialect. */
interface DialectRoute<Body> extends Pick<Route<Body>, 'summary' | 'response'> {
  readonly path: string;
  readonly schema: z.ZodType<Body>;
}

/** Adds a route that takes a body of a dialect. */
function addDialectRoute<Body extends GenerationBody>(
  app: App,
  deps: Deps,
  { path, schema, ...route }: DialectRoute<Body>,
  handle: (c: Context<HttpEnv>, body: Body) => Promise<Response | object>,
): void {
  addRoute(app, `POST ${path}`, {
    ...route,
    ...waitingRoute(deps),
    body: { schema, limits: deps.limits },
    handle,
  });
}

/** Adds a route that generates. */
function addGeneration<Body extends GenerationBody>(
  app: App,
  deps: Deps,
  dialect: Dialect<Body>,
  route: DialectRoute<Body>,
): void {
  addDialectRoute(app, deps, route, async (c, body) => {
    const input = dialect.read(body, sourceOf(c));
    using _entry = enterQueue(c, deps, queuedTokens(input, deps));
    const plan = await planGeneration(c, deps, { endpoint: dialect, body, input });
    return await respond(c, deps, plan); // without await the entry would end before the adapter is loaded
  });
}

/** Adds a route that only prepares a generation. `show` writes what the client sees of it. */
function addPreparation<Body extends GenerationBody>(
  app: App,
  deps: Deps,
  dialect: Dialect<Body>,
  {
    show,
    ...route
  }: DialectRoute<Body> & { show(c: Context<HttpEnv>, request: ReadRequest): Promise<object> },
): void {
  addDialectRoute(app, deps, route, async (c, body) => {
    using _entry = enterQueue(c, deps, 0);
    const input = dialect.read(body, sourceOf(c));
    return await show(c, { endpoint: dialect, body, input });
  });
}

function sourceOf(c: Context<HttpEnv>) {
  const { tenant, time } = c.var;
  return { tenant: tenant.id, timeoutMs: time.ms, clientSignal: c.req.raw.signal };
}

/** Returns the most tokens of a completion that the request asks for, as far as its model is not needed to know them. */
function queuedTokens(
  { maxTokens, defaultTokens, isFitted }: GenerationInput,
  { model: { maxSeqLength } }: Deps,
): number | undefined {
  const tokens = maxTokens ?? defaultTokens;
  return tokens !== undefined && isFitted ? Math.min(tokens, maxSeqLength) : tokens;
}

/**
 * Returns the tokens of the prompts that a generation would get, in order, as vLLM writes them. Routers compare them with what
 * the servers have cached.
 */
async function toRendered(c: Context<HttpEnv>, deps: Deps, read: ReadRequest) {
  const { choices, model } = await planGeneration(c, deps, read);
  return choices
    .filter(({ index }) => index % (read.body.n ?? 1) === 0)
    .map(({ request }) => ({
      request_id: c.get('requestId'),
      model: model.resolved.id,
      token_ids: [...request.promptIds],
    }));
}
