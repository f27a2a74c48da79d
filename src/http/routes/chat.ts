// POST /v1/chat/completions: renders a conversation with the base's chat template and completes it.
import { renderedSchema } from '../../contracts/management-api.ts';
import { chatChunkSchema, chatCompletionSchema } from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { CHAT, FUNCTION_CHAT } from '../generation/choices.ts';
import { queued, respond } from '../generation/respond.ts';
import { type GenerationShape, prepareGeneration } from '../request/prepare-generation.ts';
import {
  prepareMessages,
  toPredictionIds,
  toRenderOptions,
  toTruncation,
} from '../request/prompts.ts';
import { type ChatRequest, chatMessageSchema, chatRequestSchema } from '../schema/chat.ts';
import { type App, addRoute, json, jsonOrEvents } from '../wire/route.ts';
import { toRendered } from './render.ts';

/** Adds the route. */
export function addChatRoute(app: App, deps: Deps): void {
  const { limits, model } = deps;
  app.openAPIRegistry.register('ChatMessage', chatMessageSchema);
  app.openAPIRegistry.register('ChatCompletionChunk', chatChunkSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/chat/completions',
    summary: 'Answer a conversation',
    body: { schema: chatRequestSchema({ ...model, limits }), limits },
    response: jsonOrEvents(
      chatCompletionSchema,
      'Events with a ChatCompletionChunk each, then `[DONE]`',
    ),
    ...queued<ChatRequest>(deps, maxTokensOf),
    async handle(c, body) {
      const { plan } = await prepareGeneration(c, deps, body, SHAPE);
      return respond(c, deps, { ...plan, endpoint: hasFunctions(body) ? FUNCTION_CHAT : CHAT });
    },
  });
  addRoute(app, {
    method: 'post',
    path: '/v1/chat/completions/render',
    summary: 'Turn a conversation into tokens',
    body: { schema: chatRequestSchema({ ...model, limits }), limits },
    response: json(renderedSchema),
    ...queued<ChatRequest>(deps, () => 0),
    async handle(c, body) {
      const { plan } = await prepareGeneration(c, deps, body, SHAPE);
      return c.json(toRendered(c, plan, body.n)[0]!);
    },
  });
}

const SHAPE: GenerationShape<ChatRequest> = {
  param: 'messages',
  maxTokensOf,
  topLogprobsOf: (body) => (body.logprobs ? (body.top_logprobs ?? 0) : undefined),
  tools: {
    fieldsOf: (body) => body,
    paramOf: (body, index) =>
      hasFunctions(body) ? `functions[${index}].parameters` : `tools[${index}].function.parameters`,
  },
  async prompts({ body, tools, maxTokens, ...request }) {
    const truncation = toTruncation(body, maxTokens, request.model);
    const options = { ...toRenderOptions(body), tools, truncation };
    return [await prepareMessages(body.messages, request, options)];
  },
  predict: (body, request) => toPredictionIds(body.prediction, request),
};

/** Whether the request uses the older form of tools. */
function hasFunctions({ functions }: ChatRequest): boolean {
  return (functions?.length ?? 0) > 0;
}

function maxTokensOf({
  max_completion_tokens: limit,
  max_tokens: older,
}: Pick<ChatRequest, 'max_completion_tokens' | 'max_tokens'>): number | null | undefined {
  return limit ?? older;
}
