// Reads the fields of a request that affect how the chat template renders it.
import type { RenderOptions } from '../../tokenizer/chat-template.ts';
import type { ChatRequest } from '../schema/chat.ts';

/** Reads the fields of a chat request that affect rendering. */
export function toRenderOptions(
  body: Pick<ChatRequest, 'chat_template_kwargs'> & {
    add_generation_prompt?: boolean | null | undefined;
    continue_final_message?: boolean | null | undefined;
    reasoning_effort?: string | null | undefined;
    verbosity?: string | null | undefined;
  },
): RenderOptions {
  const continuesFinalMessage = body.continue_final_message ?? false;
  const { reasoning_effort: effort, verbosity } = body;
  return {
    addGenerationPrompt: body.add_generation_prompt ?? !continuesFinalMessage,
    continuesFinalMessage,
    variables: {
      ...(effort != null && { reasoning_effort: effort }),
      ...(verbosity != null && { verbosity }),
      ...body.chat_template_kwargs,
    },
  };
}
