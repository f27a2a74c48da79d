// Anthropic's POST /v1/messages and POST /v1/messages/count_tokens: another form of chat.
import { messageSchema, messageTokensSchema } from '../../contracts/messages.ts';
import type { Deps } from '../deps.ts';
import { MESSAGES } from '../generation/messages-endpoint.ts';
import { queued, respond } from '../generation/respond.ts';
import {
  buildPrompts,
  type GenerationShape,
  prepareGeneration,
} from '../request/prepare-generation.ts';
import { prepareMessages, toRenderOptions } from '../request/prompts.ts';
import { inputMessageSchema } from '../schema/message-blocks.ts';
import {
  type MessageRequest,
  messageCountSchema,
  messageRequestSchema,
} from '../schema/messages.ts';
import { type App, addRoute, json, jsonOrEvents } from '../wire/route.ts';

/** Adds the routes. */
export function addMessageRoutes(app: App, deps: Deps): void {
  const { limits, model } = deps;
  const bounds = { ...model, limits };
  const maxTokensOf = ({ max_tokens: limit }: MessageRequest) =>
    limit && Math.min(limit, model.maxSeqLength);
  app.openAPIRegistry.register('InputMessage', inputMessageSchema);
  addRoute<MessageRequest>(app, {
    method: 'post',
    path: '/v1/messages',
    summary: "Answer a conversation in the form of Anthropic's API",
    body: { schema: messageRequestSchema(bounds), limits },
    response: jsonOrEvents(messageSchema, 'Typed events, from `message_start` to `message_stop`'),
    ...queued(deps, maxTokensOf),
    async handle(c, body) {
      const { plan } = await prepareGeneration(c, deps, body, SHAPE);
      return respond(c, deps, { ...plan, endpoint: MESSAGES });
    },
  });
  addRoute<MessageRequest>(app, {
    method: 'post',
    path: '/v1/messages/count_tokens',
    summary: 'Count the tokens of the same prompt, without an answer',
    body: { schema: messageCountSchema(bounds), limits },
    response: json(messageTokensSchema),
    ...queued(deps, () => 0),
    async handle(c, body) {
      const { promptTokens } = await buildPrompts(c, deps, body, SHAPE);
      return c.json({ input_tokens: promptTokens });
    },
  });
}

const SHAPE: GenerationShape<MessageRequest> = {
  param: 'messages',
  // Clients send the most that Anthropic's models can write, so a longer answer than fits is no error.
  maxTokensOf: () => undefined,
  defaultTokensOf: (body) => body.max_tokens ?? 1,
  topLogprobsOf: () => undefined,
  formatOf: (body) => body.output_config?.format?.given,
  tools: { fieldsOf: (body) => body, paramOf: (_, index) => `tools[${index}].input_schema` },
  async prompts({ body, tools, ...request }) {
    const { thinking, output_config: output, chat_template_kwargs: variables } = body;
    const last = body.messages.at(-1);
    const options = toRenderOptions({
      continue_final_message: last?.role === 'assistant' && !last.toolCalls && last.content !== '',
      reasoning_effort: output?.effort,
      chat_template_kwargs: {
        ...(thinking && { enable_thinking: thinking.type !== 'disabled' }),
        ...variables,
      },
    });
    return [await prepareMessages(body.messages, request, { ...options, tools })];
  },
};
