// POST /v1/chat/completions: answers a conversation, which the base's chat template renders.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import type { GenerationRequest } from '../../contracts/generation.ts';
import { chatChunkSchema, chatCompletionSchema } from '../../contracts/openai.ts';
import { answer, queued } from '../answer/answer.ts';
import { toStreamPlan, toTextEnd } from '../answer/answer-plan.ts';
import { CHAT, FUNCTION_CHAT } from '../answer/endpoint.ts';
import type { ChoicePlan } from '../answer/generation.ts';
import type { Deps } from '../deps.ts';
import { usableConstraint } from '../request/constraint-check.ts';
import { planConversation } from '../request/conversation-plan.ts';
import { withLanguage } from '../request/model-language.ts';
import { prefixScope } from '../request/prefix-scope.ts';
import {
  prepareMessages,
  toPredictionIds,
  toRenderOptions,
  toTruncation,
} from '../request/prompts.ts';
import { checkRequestDefaults, requestDefaultsOf } from '../request/request-defaults.ts';
import {
  generationConfigOf,
  resolveModel,
  withSamplingDefaults,
} from '../request/request-model.ts';
import { planToolUse } from '../request/tool-use.ts';
import { type ChatRequest, chatMessageSchema, chatRequestSchema } from '../schema/chat.ts';
import { constraintOf } from '../schema/constraints.ts';
import { toToolUse } from '../schema/tools.ts';
import { addRoute, json } from '../wire/route.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';

/** Adds the route. */
export function addChatRoute(app: OpenAPIHono<HttpEnv>, base: Deps): void {
  const {
    limits,
    model: { vocabSize },
  } = base;
  app.openAPIRegistry.register('ChatMessage', chatMessageSchema);
  app.openAPIRegistry.register('ChatCompletionChunk', chatChunkSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/chat/completions',
    summary: 'Answer a conversation',
    body: { schema: chatRequestSchema({ vocabSize, limits }), limits },
    answers: {
      ...json(chatCompletionSchema),
      'text/event-stream': {
        schema: z
          .string()
          .openapi({ description: 'Events with a ChatCompletionChunk each, then `[DONE]`' }),
      },
    },
    ...queued<ChatRequest>(base, maxTokensOf),
    async handle(c, given) {
      const tenant = c.get('tenant');
      const caller = callerOf(c);
      const resolve = () => resolveModel(c, base, given);
      const model = await resolve();
      const deps = await withLanguage(c, base, model, {
        logit_bias: given.logit_bias,
        stop_token_ids: given.stop_token_ids,
        allowed_token_ids: given.allowed_token_ids,
      });
      const defaults = await generationConfigOf(deps, model);
      const own = await checkRequestDefaults(await requestDefaultsOf(model), caller);
      const body = withSamplingDefaults(given, defaults);
      const constraint = (await usableConstraint(constraintOf(body), caller)) ?? own.constraint;
      const requestedTokens = maxTokensOf(body) ?? undefined;
      const toolUse = toToolUse(body, own.tools);
      const tools =
        toolUse &&
        (await planToolUse(toolUse, deps, {
          text: constraint,
          caller,
          paramOf: (index) =>
            toolUse.isOlder
              ? `functions[${index}].parameters`
              : `tools[${index}].function.parameters`,
        }));
      const { ids } = await prepareMessages(body.messages, deps, {
        ...toRenderOptions(body),
        tools: tools?.shown,
        truncation: toTruncation(body, requestedTokens, deps),
      });
      return answer(c, deps, {
        endpoint: toolUse?.isOlder ? FUNCTION_CHAT : CHAT,
        tenant,
        model,
        resolveAgain: resolve,
        choices: toChoices(
          body,
          await toPredictionIds(body.prediction, deps),
          planConversation(body, deps, {
            promptIds: ids,
            param: 'messages',
            maxTokens: requestedTokens,
            defaultTokens: defaults.max_tokens,
            prefixScope: prefixScope(tenant.id, body),
            topLogprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
            constraint: tools?.constraint ?? constraint,
          }),
        ),
        textEnd: { ...toTextEnd(body), shownSpecials: tools?.shownSpecials },
        tools,
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

function maxTokensOf({
  max_completion_tokens: limit,
  max_tokens: older,
}: Pick<ChatRequest, 'max_completion_tokens' | 'max_tokens'>): number | null | undefined {
  return limit ?? older;
}

/** Adds what only chat has: scores of the prompt and a predicted answer. */
function toChoices(
  body: ChatRequest,
  predictionIds: readonly number[],
  requests: readonly GenerationRequest[],
): ChoicePlan[] {
  return requests.map((request, index) => {
    const scored = index === 0 ? body.prompt_logprobs : undefined; // all choices share the prompt
    const scoring = scored != null ? { promptTopLogprobs: scored } : {};
    const hint = predictionIds.length > 0 ? { predictionIds } : {};
    return { request: { ...request, ...scoring, ...hint }, echo: '', index };
  });
}
