// The endpoints whose responses contain choices: chat and completions.
import type { Endpoint } from './answer-plan.ts';
import { CHAT_SHAPE, type ChoiceShape, COMPLETION_SHAPE, FUNCTION_SHAPE } from './choice-shape.ts';
import { createChunkWriter } from './chunk-writer.ts';
import { JsonSink } from './json-sink.ts';
import { createChatLogprobs, createCompletionLogprobs } from './logprobs.ts';

/** `POST /v1/chat/completions`. */
export const CHAT: Endpoint = {
  operation: 'chat',
  idPrefix: 'chatcmpl-',
  limitField: 'max_tokens',
  createLogprobs: createChatLogprobs,
  ...withChoices(CHAT_SHAPE),
};

/** The same for requests with the older `functions`. */
export const FUNCTION_CHAT: Endpoint = { ...CHAT, ...withChoices(FUNCTION_SHAPE) };

/** `POST /v1/completions`. */
export const COMPLETIONS: Endpoint = {
  operation: 'text_completion',
  idPrefix: 'cmpl-',
  limitField: 'max_tokens',
  createLogprobs: createCompletionLogprobs,
  ...withChoices(COMPLETION_SHAPE),
};

function withChoices(shape: ChoiceShape): Pick<Endpoint, 'createDocument' | 'createEvents'> {
  return {
    createDocument: (plan, context) => new JsonSink(plan, { ...context, shape }),
    createEvents: (plan, head) => createChunkWriter(plan, { head, shape }),
  };
}
