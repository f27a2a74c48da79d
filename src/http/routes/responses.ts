// POST /v1/responses: answers a text or a list of items, rendered with the base's chat template. POST /v1/responses/input_tokens
// only counts the tokens.
import { responseSchema, responseTokensSchema } from '../../contracts/responses.ts';
import type { Deps } from '../deps.ts';
import { queued, respond } from '../generation/respond.ts';
import { createResponsesEndpoint, toSettings } from '../generation/responses-endpoint.ts';
import { continueConversation, openConversation, renderItems } from '../request/conversation.ts';
import { toRecord } from '../request/kept-items.ts';
import {
  buildPrompts,
  type GenerationShape,
  prepareGeneration,
} from '../request/prepare-generation.ts';
import { inputItemSchema } from '../schema/response-items.ts';
import { LOGPROBS, type ResponseRequest, responseRequestSchema } from '../schema/responses.ts';
import { type App, addRoute, json, jsonOrEvents } from '../wire/route.ts';

/** Adds the routes. */
export function addResponsesRoutes(app: App, deps: Deps): void {
  const { limits, model } = deps;
  const keepsResponses = deps.keptResponses !== undefined;
  const body = { schema: responseRequestSchema({ ...model, limits, keepsResponses }), limits };
  app.openAPIRegistry.register('ResponseInputItem', inputItemSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/responses',
    summary: 'Answer a text or items, as a response object',
    body,
    response: jsonOrEvents(
      responseSchema,
      'Typed events, from `response.created` to `response.completed`',
    ),
    ...queued<ResponseRequest>(deps, ({ max_output_tokens: limit }) => limit),
    async handle(c, requestBody) {
      const { keptResponses: responses, conversations } = deps;
      const { id: tenant } = c.get('tenant');
      // Nobody waits for a response in the background, so a client that leaves ends nothing.
      const signal = requestBody.background ? new AbortController().signal : c.req.raw.signal;
      const kept = { responses, conversations, tenant, signal };
      let opened: Awaited<ReturnType<typeof openConversation>> = { items: [], keptCount: 0 };
      let { items } = opened;
      const { plan, body } = await prepareGeneration(c, deps, requestBody, {
        ...SHAPE,
        async prompts(request) {
          opened = await openConversation(request.body, kept);
          const rendered = await renderItems(opened.items, request);
          ({ items } = rendered);
          return [{ ids: rendered.ids, text: '' }];
        },
      });
      const store = responses !== undefined && body.store !== false;
      const endpoint = createResponsesEndpoint({
        settings: toSettings(body, { model: plan.model.resolved.id, store }),
        now: deps.now,
        async keep(response) {
          if (response.status !== 'failed') await continueConversation(response, opened, kept);
          const record = toRecord(response, items);
          if (body.background) await responses!.end(tenant, response.id, record);
          else if (store) await responses.keep(tenant, response.id, record, { signal });
        },
        keepOpen: body.background
          ? (response, cancellation) => {
              const endsMs = deps.now() + c.get('time').ms + LATEST_END_MS;
              const record = { ...toRecord(response, items), endsMs };
              return responses!.open(tenant, response.id, record, cancellation);
            }
          : undefined,
      });
      return respond(c, deps, { ...plan, endpoint });
    },
  });
  addRoute(app, {
    method: 'post',
    path: '/v1/responses/input_tokens',
    summary: 'Count the tokens of the same prompt, without an answer',
    body,
    response: json(responseTokensSchema),
    ...queued<ResponseRequest>(deps, () => 0),
    async handle(c, requestBody) {
      const { keptResponses: responses, conversations } = deps;
      const kept = { responses, conversations, tenant: c.var.tenant.id, signal: c.req.raw.signal };
      const { promptTokens } = await buildPrompts(c, deps, requestBody, {
        ...SHAPE,
        // A prompt is counted even if it does not fit.
        maxTokensOf: () => undefined,
        defaultTokensOf: () => 1,
        async prompts(request) {
          const { items } = await openConversation(request.body, kept);
          return [{ ids: (await renderItems(items, request)).ids, text: '' }];
        },
      });
      return c.json({ object: 'response.input_tokens' as const, input_tokens: promptTokens });
    },
  });
}

/** How long after its time limit a response in the background may still be stored. */
const LATEST_END_MS = 60_000;

const SHAPE: Omit<GenerationShape<ResponseRequest>, 'prompts'> = {
  param: 'input',
  maxTokensOf: (body) => body.max_output_tokens,
  topLogprobsOf: (body) =>
    body.include?.includes(LOGPROBS) ? (body.top_logprobs ?? 0) : undefined,
  formatOf: (body) => body.text?.format?.given,
  tools: {
    fieldsOf: (body) => ({ ...body, tools: body.tools?.map((tool) => tool.function) }),
    paramOf: (_, index) => `tools[${index}].parameters`,
  },
};
