// POST /v1/chat/completions: messages, rendered by the base's own chat template.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { chatChunkSchema, chatCompletionSchema } from '../../contracts/openai.ts';
import { answer, requireReady } from '../answer.ts';
import { toStreamPlan, toTextEnd } from '../answer-plan.ts';
import type { Deps } from '../deps.ts';
import { CHAT } from '../endpoint.ts';
import type { ChoicePlan } from '../generation.ts';
import { addJsonRoute } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import {
  prepareMessages,
  resolveMaxTokens,
  toBadWords,
  toRenderOptions,
  toTruncation,
} from '../prompts.ts';
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
      const asked = body.max_completion_tokens ?? body.max_tokens ?? undefined;
      const { ids } = prepareMessages(body.messages, deps, {
        ...toRenderOptions(body),
        truncation: toTruncation(body, asked, deps),
      });
      return answer(c, deps, {
        endpoint: CHAT,
        tenant,
        model,
        resolveAgain: resolve,
        choices: planChoices(body, ids, deps, defaults.max_tokens),
        textEnd: toTextEnd(body),
        promptTokens: ids.length,
        logprobs: {
          isShown: body.logprobs === true,
          byId: body.return_tokens_as_token_ids ?? false,
          echoed: undefined,
          prompt: body.prompt_logprobs ?? undefined,
        },
        stream: toStreamPlan(body),
      });
    },
  });
}

/** @param defaultTokens where the body does not say how many tokens; without it the context is the limit */
function planChoices(
  body: ChatRequest,
  promptIds: readonly number[],
  deps: Deps,
  defaultTokens = deps.model.maxSeqLength,
): ChoicePlan[] {
  const { model } = deps;
  const maxTokens = resolveMaxTokens(
    {
      promptTokens: promptIds.length,
      maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
      defaultTokens,
      param: 'messages',
    },
    model.maxSeqLength,
  );
  const topLogprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined;
  const badWords = toBadWords(body.bad_words, deps);
  const plan = { promptIds, maxTokens, topLogprobs, badWords };
  const requests = toGenerationRequests(body, model, plan);
  return requests.map((request, index) => {
    const scored = index === 0 ? body.prompt_logprobs : undefined; // once for all of them
    const scoring = scored != null ? { promptTopLogprobs: scored } : {};
    return { request: { ...request, ...scoring }, echo: '', index };
  });
}
