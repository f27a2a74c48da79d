// OpenAI's chat completions: a conversation, rendered by the chat template and completed.
import type { Dialect } from '../request/dialect.ts';
import type { ChatRequest } from '../schema/chat.ts';
import { CHAT_CHOICES, FUNCTION_CHOICES } from './choices.ts';
import { toRenderOptions } from './render-options.ts';

/** The dialect of `POST /v1/chat/completions`. */
export const CHAT: Dialect<ChatRequest> = {
  operation: 'chat',
  idPrefix: 'chatcmpl-',
  promptField: 'messages',
  limitField: 'max_tokens',
  read(body) {
    const isOlder = (body.functions?.length ?? 0) > 0; // the older form of tools
    return {
      prompt: { kind: 'messages', messages: body.messages, options: toRenderOptions(body) },
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      topLogprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
      tools: {
        fields: body,
        fieldOf: (index) =>
          isOlder ? `functions[${index}].parameters` : `tools[${index}].function.parameters`,
      },
      prediction: body.prediction,
      writer: isOlder ? FUNCTION_CHOICES : CHAT_CHOICES,
    };
  },
};
