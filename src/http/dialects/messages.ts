// Anthropic's messages: another form of chat. A message has blocks: text, and calls.
import type { ServeError } from '../../common/errors.ts';
import type { Message, MessageBlock, MessageUsage } from '../../contracts/messages.ts';
import type { CallParser, CompletionPart } from '../../tools/call-parser.ts';
import type {
  Ending,
  GenerationPlan,
  ResponseHead,
  TokenCounts,
} from '../generation/generation-plan.ts';
import type { Dialect } from '../request/dialect.ts';
import type { MessageRequest } from '../schema/messages.ts';
import { toMessageError } from '../wire/errors.ts';
import { draftWriter, type Report, type ReportingDraft } from './draft.ts';
import { toRenderOptions } from './render-options.ts';

/** The dialect of `POST /v1/messages`. */
export const MESSAGES: Dialect<MessageRequest> = {
  operation: 'chat',
  idPrefix: 'msg_',
  promptField: 'messages',
  limitField: 'max_tokens',
  read(body) {
    const { messages, thinking, output_config: output, chat_template_kwargs: variables } = body;
    const last = messages.at(-1);
    const options = toRenderOptions({
      continue_final_message: last?.role === 'assistant' && !last.toolCalls && last.content !== '',
      reasoning_effort: output?.effort,
      chat_template_kwargs: {
        ...(thinking && { enable_thinking: thinking.type !== 'disabled' }),
        ...variables,
      },
    });
    return {
      prompt: { kind: 'messages', messages, options },
      maxTokens: body.max_tokens,
      // Clients send the most that Anthropic's models can write, so a longer completion than fits is no error.
      isFitted: true,
      format: output?.format?.given,
      tools: { fields: body, fieldOf: (index) => `tools[${index}].input_schema` },
      writer: MESSAGE_WRITER,
    };
  },
};

/** Builds one message. */
class MessageDraft implements ReportingDraft {
  readonly #plan: GenerationPlan;
  readonly #head: ResponseHead;
  readonly #report: Report;
  readonly #parser: CallParser | undefined;
  readonly #blocks: MessageBlock[] = [];
  #isOpen = false;
  /** The arguments of the last call so far. */
  #arguments = '';
  #ending: Ending = { reason: 'stop' };

  constructor(plan: GenerationPlan, head: ResponseHead, report: Report) {
    this.#plan = plan;
    this.#head = head;
    this.#report = report;
    this.#parser = plan.tools?.createParser();
  }

  add(text: string): void {
    this.#addParts(this.#parser ? this.#parser.push(text) : [{ type: 'content', text }]);
  }

  finish(ending: Ending): void {
    this.#ending = ending;
    this.#addParts(this.#parser?.end() ?? []);
    this.#close();
  }

  /** Reports the message before its first token. How much of the prompt is cached is not known yet. */
  start(): void {
    const { promptTokens } = this.#plan;
    const usage = toMessageUsage({ promptTokens, completionTokens: 0, cachedTokens: 0 });
    const state = { content: [], stop_reason: null, stop_sequence: null, usage };
    this.#report('message_start', { message: this.#toMessage(state) });
  }

  end(counts: TokenCounts): Message {
    const stop_reason = this.#stopReason(counts);
    const stop_sequence = stop_reason === 'stop_sequence' ? this.#ending.stopString! : null;
    const usage = toMessageUsage(counts);
    this.#report('message_delta', { delta: { stop_reason, stop_sequence }, usage });
    this.#report('message_stop', {});
    return this.#toMessage({ content: this.#blocks, stop_reason, stop_sequence, usage });
  }

  fail(error: ServeError): void {
    this.#report('error', toMessageError(error));
  }

  #toMessage(state: Omit<Message, 'id' | 'type' | 'role' | 'model'>): Message {
    const { id, model } = this.#head;
    return { id, type: 'message', role: 'assistant', model, ...state };
  }

  #stopReason({ promptTokens, completionTokens }: TokenCounts): Message['stop_reason'] {
    const { reason, stopString } = this.#ending;
    if (reason === 'length') {
      const isFull = promptTokens + completionTokens >= this.#plan.model.maxSeqLength;
      return isFull ? 'model_context_window_exceeded' : 'max_tokens';
    }
    if (stopString !== undefined) return 'stop_sequence';
    return this.#blocks.some(({ type }) => type === 'tool_use') ? 'tool_use' : 'end_turn';
  }

  #addParts(parts: readonly CompletionPart[]): void {
    for (const part of parts) {
      if (part.type === 'content') this.#addText(part.text);
      else if (part.type === 'call') {
        this.#open({ type: 'tool_use', id: part.id, name: part.name, input: {} });
      } else {
        this.#arguments += part.text;
        this.#reportDelta({ type: 'input_json_delta', partial_json: part.text });
      }
    }
  }

  #addText(text: string): void {
    if (text === '') return;
    const last = this.#blocks.at(-1);
    if (last?.type === 'text') last.text += text;
    else this.#open({ type: 'text', text: '' }).text += text;
    this.#reportDelta({ type: 'text_delta', text });
  }

  #open<Block extends MessageBlock>(block: Block): Block {
    this.#close();
    this.#blocks.push(block);
    this.#isOpen = true;
    this.#reportBlock('content_block_start', { content_block: block });
    return block;
  }

  #close(): void {
    if (!this.#isOpen) return;
    const block = this.#blocks.at(-1)!;
    if (block.type === 'tool_use') block.input = toInput(this.#arguments);
    this.#arguments = '';
    this.#isOpen = false;
    this.#reportBlock('content_block_stop', {});
  }

  #reportDelta(delta: object): void {
    this.#reportBlock('content_block_delta', { delta });
  }

  /** Reports a change of the last block. */
  #reportBlock(type: string, members: object): void {
    this.#report(type, { index: this.#blocks.length - 1, ...members });
  }
}

const MESSAGE_WRITER = draftWriter((plan, head, report) => new MessageDraft(plan, head, report));

/** Parses the arguments of a call. Incomplete ones, which only a cut-off completion has, count as none. */
function toInput(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function toMessageUsage({
  promptTokens,
  cachedTokens,
  completionTokens,
}: TokenCounts): MessageUsage {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
  };
}
