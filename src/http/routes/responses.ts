// POST /v1/responses: answers a text or a list of items. The base's chat template renders them.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import {
  type ConversationItem,
  type ResponseSettings,
  responseSchema,
} from '../../contracts/responses.ts';
import { answer, requireReady } from '../answer.ts';
import { toTextEnd } from '../answer-plan.ts';
import type { Deps } from '../deps.ts';
import type { ChoicePlan } from '../generation.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prefixScope } from '../prefix-scope.ts';
import { prepareMessages, resolveMaxTokens, toBadWords, toRenderOptions } from '../prompts.ts';
import { generationConfigOf, resolveModel, withSamplingDefaults } from '../request-model.ts';
import {
  dropOldTurns,
  keepResponse,
  openConversation,
  toMessages,
} from '../responses/conversation.ts';
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
  const keepsResponses = deps.keptResponses !== undefined;
  app.openAPIRegistry.register('ResponseInputItem', inputItemSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/responses',
    summary: 'Answer a text or items, as a response object',
    body: { schema: responseRequestSchema({ vocabSize, limits, keepsResponses }), limits },
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
      const { keptResponses: responses } = deps;
      const kept = { responses, tenant: tenant.id, signal: c.req.raw.signal };
      const conversation = await openConversation(body, kept);
      const { items, ids } = renderItems(conversation, body, deps);
      const choice = planChoice(body, ids, deps, {
        prefixScope: prefixScope(tenant.id, body),
        defaultTokens: defaults.max_tokens,
      });
      const store = responses !== undefined && body.store !== false;
      return answer(c, deps, {
        endpoint: createResponsesEndpoint({
          settings: toSettings(body, { model: model.id, store }),
          now: deps.now,
          keep: store ? (response) => keepResponse(response, items, kept) : async () => {},
        }),
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

/** The share of the context that is left for the answer if old turns are dropped and the request sets no limit. */
const ANSWER_SHARE = 1 / 4;

/** Renders the conversation, without the turns that are dropped if the request allows it. */
function renderItems(
  conversation: readonly ConversationItem[],
  body: DefaultedRequest,
  deps: Deps,
): { items: readonly ConversationItem[]; ids: readonly number[] } {
  const { maxSeqLength } = deps.model;
  const effort = body.reasoning?.effort ?? null;
  const options = {
    ...toRenderOptions({ ...body, reasoning_effort: effort }),
    param: 'input',
  } as const;
  const render = (items: readonly ConversationItem[]) =>
    prepareMessages(toMessages(items, body.instructions), deps, options).ids;
  if (body.truncation !== 'auto') return { items: conversation, ids: render(conversation) };
  const answerTokens = body.max_completion_tokens ?? Math.ceil(maxSeqLength * ANSWER_SHARE);
  const maxTokens = maxSeqLength - answerTokens;
  const count = (items: readonly ConversationItem[]) => render(items).length;
  const items = dropOldTurns(conversation, { maxTokens, count });
  return { items, ids: render(items) };
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
function toSettings(
  body: DefaultedRequest,
  { model, store }: Pick<ResponseSettings, 'model' | 'store'>,
): ResponseSettings {
  return {
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_completion_tokens ?? null,
    metadata: body.metadata ?? {},
    model,
    parallel_tool_calls: true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: null },
    service_tier: 'default',
    store,
    temperature: body.temperature ?? 1,
    text: { format: { type: 'text' } },
    tool_choice: body.tool_choice === 'none' ? 'none' : 'auto',
    tools: [],
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: body.truncation ?? 'disabled',
  };
}
