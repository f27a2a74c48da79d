// POST /v1/responses: answers a text or a list of items. The base's chat template renders them.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { responseSchema } from '../../contracts/responses.ts';
import { answer, queued } from '../answer/answer.ts';
import { toTextEnd } from '../answer/answer-plan.ts';
import { toSettings } from '../answer/response-settings.ts';
import { createResponsesEndpoint } from '../answer/responses-endpoint.ts';
import type { Deps } from '../deps.ts';
import { usableConstraint } from '../request/constraint-check.ts';
import { keepResponse, openConversation } from '../request/conversation.ts';
import { planConversation } from '../request/conversation-plan.ts';
import { withLanguage } from '../request/model-language.ts';
import { prefixScope } from '../request/prefix-scope.ts';
import { renderItems } from '../request/render-items.ts';
import { checkRequestDefaults, requestDefaultsOf } from '../request/request-defaults.ts';
import {
  generationConfigOf,
  resolveModel,
  withSamplingDefaults,
} from '../request/request-model.ts';
import { planToolUse } from '../request/tool-use.ts';
import { constraintOf } from '../schema/constraints.ts';
import { inputItemSchema } from '../schema/response-items.ts';
import { type ResponseRequest, responseRequestSchema } from '../schema/responses.ts';
import { toToolUse } from '../schema/tools.ts';
import { addRoute, json } from '../wire/route.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';

/** Adds the route. */
export function addResponsesRoute(app: OpenAPIHono<HttpEnv>, base: Deps): void {
  const {
    limits,
    model: { vocabSize },
  } = base;
  const keepsResponses = base.keptResponses !== undefined;
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
    ...queued<ResponseRequest>(base, ({ max_output_tokens: limit }) => limit),
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
      const limited = { ...given, max_completion_tokens: given.max_output_tokens };
      const own = await checkRequestDefaults(await requestDefaultsOf(model), caller);
      const body = withSamplingDefaults(limited, defaults);
      const format = constraintOf(body) ?? body.text?.format?.given;
      const constraint = (await usableConstraint(format, caller)) ?? own.constraint;
      const { keptResponses: responses } = deps;
      const kept = { responses, tenant: tenant.id, signal: c.req.raw.signal };
      const conversation = await openConversation(body, kept);
      const toolUse = toToolUse(
        { ...body, tools: body.tools?.map((tool) => tool.function) },
        own.tools,
      );
      const tools =
        toolUse &&
        (await planToolUse(toolUse, deps, {
          text: constraint,
          caller,
          paramOf: (index) => `tools[${index}].parameters`,
        }));
      const { items, ids } = await renderItems(conversation, { body, tools: tools?.shown }, deps);
      const topLogprobs = body.include?.length ? (body.top_logprobs ?? 0) : undefined;
      const [request] = planConversation(body, deps, {
        promptIds: ids,
        param: 'input',
        maxTokens: body.max_completion_tokens ?? undefined,
        defaultTokens: defaults.max_tokens,
        prefixScope: prefixScope(tenant.id, body),
        topLogprobs,
        constraint: tools?.constraint ?? constraint,
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
        choices: [{ request: request!, echo: '', index: 0 }],
        textEnd: { ...toTextEnd(body), shownSpecials: tools?.shownSpecials },
        tools,
        promptTokens: ids.length,
        logprobs: {
          isShown: topLogprobs !== undefined,
          byId: body.return_tokens_as_token_ids ?? false,
          echoed: undefined,
          prompt: undefined,
        },
        stream: body.stream ? { usage: 'none' } : undefined,
      });
    },
  });
}
