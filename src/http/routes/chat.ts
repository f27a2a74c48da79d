// POST /v1/chat/completions: messages, rendered by the base's own chat template.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { chatChunkSchema, chatCompletionSchema } from '../../openai.ts';
import { answer, requireReady } from '../answer.ts';
import type { Deps } from '../deps.ts';
import { CHAT } from '../endpoint.ts';
import { addJsonRoute } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prepareMessages, resolveMaxTokens } from '../prompts.ts';
import { resolveModel } from '../resolve-model.ts';
import { generationConfigOf, withSamplingDefaults } from '../sampling-defaults.ts';
import { type ChatRequest, chatMessageSchema, chatRequestSchema } from '../schema/chat.ts';
import { toGenerationRequests } from '../schema/sampling.ts';

export function addChatRoute(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { vocabSize } = deps.model;
  app.openAPIRegistry.register('ChatMessage', chatMessageSchema);
  app.openAPIRegistry.register('ChatCompletionChunk', chatChunkSchema);
  addJsonRoute(app, deps, {
    path: '/v1/chat/completions',
    summary: 'Answer a conversation',
    body: chatRequestSchema({ vocabSize, limits: deps.limits }),
    answers: {
      'application/json': { schema: chatCompletionSchema },
      'text/event-stream': {
        schema: z.string().openapi({ description: 'Frames of ChatCompletionChunk, then `[DONE]`' }),
      },
    },
    admit: () => requireReady(deps),
    async handle(c, given) {
      const tenant = c.get('tenant');
      const resolve = () => resolveModel(c, deps, given);
      const model = await resolve();
      const defaults = await generationConfigOf(deps, model);
      const body = withSamplingDefaults(given, defaults);
      const { ids } = prepareMessages(body.messages, deps);
      return answer(c, deps, {
        endpoint: CHAT,
        tenant,
        model,
        resolveAgain: resolve,
        choices: planChoices(body, ids, deps, defaults.max_tokens),
        stopStrings: body.stop,
        promptTokens: ids.length,
        hasLogprobs: body.logprobs === true,
        stream: body.stream
          ? { includeUsage: body.stream_options?.include_usage === true }
          : undefined,
      });
    },
  });
}

/** @param defaultTokens where the body does not say how many tokens; without it the context is the limit */
function planChoices(
  body: ChatRequest,
  promptIds: readonly number[],
  { model }: Deps,
  defaultTokens = model.maxSeqLength,
) {
  const param = body.max_completion_tokens != null ? 'max_completion_tokens' : 'max_tokens';
  const asked = body.max_completion_tokens ?? body.max_tokens ?? undefined;
  const maxTokens = resolveMaxTokens(
    {
      promptTokens: promptIds.length,
      maxTokens: asked,
      defaultTokens,
      param: asked === undefined ? 'messages' : param,
    },
    model.maxSeqLength,
  );
  const topLogprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined;
  const requests = toGenerationRequests(body, model, { promptIds, maxTokens, topLogprobs });
  return requests.map((request, index) => ({ request, echo: '', index }));
}
