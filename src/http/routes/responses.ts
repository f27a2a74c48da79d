// POST /v1/responses: answers a text or a list of items. The base's chat template renders them.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { type ResponseSettings, responseSchema } from '../../contracts/responses.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import { answer, requireReady } from '../answer.ts';
import { toTextEnd } from '../answer-plan.ts';
import type { Deps } from '../deps.ts';
import type { ChoicePlan } from '../generation.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prefixScope } from '../prefix-scope.ts';
import { prepareMessages, resolveMaxTokens, toBadWords, toRenderOptions } from '../prompts.ts';
import { generationConfigOf, resolveModel, withSamplingDefaults } from '../request-model.ts';
import { createResponsesEndpoint } from '../responses/responses-endpoint.ts';
import { addRoute, json } from '../route.ts';
import { inputItemSchema } from '../schema/response-items.ts';
import { type ResponseRequest, responseRequestSchema } from '../schema/responses.ts';
import { toGenerationRequests } from '../schema/sampling.ts';

/** Adds the route. */
export function addResponsesRoute(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const {
    limits,
    model: { vocabSize },
  } = deps;
  app.openAPIRegistry.register('ResponseInputItem', inputItemSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/responses',
    summary: 'Answer a text or items, as a response object',
    body: { schema: responseRequestSchema({ vocabSize, limits }), limits },
    answers: {
      ...json(responseSchema),
      'text/event-stream': {
        schema: z.string().openapi({
          description: 'Typed events, from `response.created` to `response.completed`',
        }),
      },
    },
    admit: () => requireReady(deps),
    async handle(c, given) {
      const tenant = c.get('tenant');
      const resolve = () => resolveModel(c, deps, given);
      const model = await resolve();
      const defaults = await generationConfigOf(deps, model);
      const limited = { ...given, max_completion_tokens: given.max_output_tokens };
      const body = withSamplingDefaults(limited, defaults);
      const effort = body.reasoning?.effort ?? null;
      const { ids } = prepareMessages(toMessages(body), deps, {
        ...toRenderOptions({ ...body, reasoning_effort: effort }),
        param: 'input',
      });
      const choice = planChoice(body, ids, deps, {
        prefixScope: prefixScope(tenant.id, body),
        defaultTokens: defaults.max_tokens,
      });
      return answer(c, deps, {
        endpoint: createResponsesEndpoint({ settings: toSettings(body, model.id), now: deps.now }),
        tenant,
        model,
        resolveAgain: resolve,
        choices: [choice],
        textEnd: toTextEnd(body),
        promptTokens: ids.length,
        logprobs: {
          isShown: choice.request.sampling.topLogprobs !== undefined,
          byId: body.return_tokens_as_token_ids ?? false,
          echoed: undefined,
          prompt: undefined,
        },
        stream: body.stream ? { usage: 'none' } : undefined,
      });
    },
  });
}

/** The request with the model's sampling defaults and the limit of its answer as chat calls it. */
type DefaultedRequest = ResponseRequest & { max_completion_tokens?: number | null | undefined };

/** The instructions come first, then the items. */
function toMessages({ instructions, input }: ResponseRequest): ChatMessage[] {
  const messages = input.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content,
  }));
  return instructions ? [{ role: 'system', content: instructions }, ...messages] : messages;
}

/** `defaultTokens` is the limit if the body sets none; without either, the context is. */
function planChoice(
  body: DefaultedRequest,
  promptIds: readonly number[],
  deps: Deps,
  {
    prefixScope,
    defaultTokens = deps.model.maxSeqLength,
  }: { prefixScope: string | undefined; defaultTokens: number | undefined },
): ChoicePlan {
  const { model } = deps;
  const maxTokens = resolveMaxTokens(
    {
      promptTokens: promptIds.length,
      maxTokens: body.max_completion_tokens ?? undefined,
      defaultTokens,
      param: 'input',
    },
    model.maxSeqLength,
  );
  const topLogprobs = body.include?.length ? (body.top_logprobs ?? 0) : undefined;
  const badWords = toBadWords(body.bad_words, deps);
  const plan = { promptIds, maxTokens, topLogprobs, prefixScope, badWords };
  const [request] = toGenerationRequests(body, model, plan);
  return { request: request!, echo: '', index: 0 };
}

/** The members of the answer that repeat the request. */
function toSettings(body: DefaultedRequest, model: string): ResponseSettings {
  return {
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_completion_tokens ?? null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    service_tier: 'default',
    store: false,
    temperature: body.temperature ?? 1,
    text: { format: { type: 'text' } },
    tool_choice: body.tool_choice === 'none' ? 'none' : 'auto',
    tools: [],
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
  };
}
