// The endpoint that answers with a message or the typed events of Anthropic's API. A message has blocks: text, and calls.
import type { Message, MessageBlock, MessageUsage } from '../../contracts/messages.ts';
import type { CallParser, CompletionPart } from '../../tools/call-parser.ts';
import { toMessageError } from '../wire/errors.ts';
import { FrameQueue } from '../wire/event-stream.ts';
import type {
  Ending,
  Endpoint,
  EventWriter,
  GenerationPlan,
  ResponseHead,
  TokenCounts,
} from './generation-plan.ts';
import { createChatLogprobs } from './logprobs.ts';

/** `POST /v1/messages`. */
export const MESSAGES: Endpoint = {
  operation: 'chat',
  idPrefix: 'msg_',
  limitField: 'max_tokens',
  createLogprobs: createChatLogprobs,
  createDocument(plan, { head }) {
    const draft = new MessageDraft(plan, { head });
    return {
      write(event) {
        if (event.type === 'token') draft.add(event.text);
        if (event.type !== 'finished') return;
        draft.add(event.rest);
        draft.finish(event);
      },
      end: (counts) => draft.toMessage(counts),
    };
  },
  createEvents: createMessageEvents,
};

function createMessageEvents(plan: GenerationPlan, head: ResponseHead): EventWriter {
  const frames = new FrameQueue();
  const onEvent = (type: string, members: object) => frames.add({ type, ...members }, type);
  const draft = new MessageDraft(plan, { head, onEvent });
  return {
    opening() {
      onEvent('message_start', { message: draft.toStarted() });
      return frames.take();
    },
    delta(_, { text }) {
      draft.add(text);
      return frames.take();
    },
    finish(_, ending) {
      draft.finish(ending);
      return frames.take();
    },
    end(counts) {
      const { stop_reason, stop_sequence, usage } = draft.toMessage(counts);
      onEvent('message_delta', { delta: { stop_reason, stop_sequence }, usage });
      onEvent('message_stop', {});
      return frames.take();
    },
    fail(error) {
      onEvent('error', toMessageError(error));
      return frames.take();
    },
  };
}

/** The message's id and model, and the receiver of the events of each change of a block. */
interface DraftOptions {
  readonly head: ResponseHead;
  onEvent?(type: string, members: object): void;
}

/** Builds one message. */
class MessageDraft {
  readonly #plan: GenerationPlan;
  readonly #options: DraftOptions;
  readonly #parser: CallParser | undefined;
  readonly #blocks: MessageBlock[] = [];
  #isOpen = false;
  /** The arguments of the last call so far. */
  #arguments = '';
  #ending: Ending = { reason: 'stop' };

  constructor(plan: GenerationPlan, options: DraftOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#parser = plan.tools?.createParser();
  }

  /** Adds text of the completion. */
  add(text: string): void {
    this.#addParts(this.#parser ? this.#parser.push(text) : [{ type: 'content', text }]);
  }

  /** Ends the last block. */
  finish(ending: Ending): void {
    this.#ending = ending;
    this.#addParts(this.#parser?.end() ?? []);
    this.#close();
  }

  /** The message before its first token. How much of the prompt is cached is not known yet. */
  toStarted(): Message {
    const { promptTokens } = this.#plan;
    const usage = toMessageUsage({ promptTokens, completionTokens: 0, cachedTokens: 0 });
    return { ...this.#head(), content: [], stop_reason: null, stop_sequence: null, usage };
  }

  /** The whole message. */
  toMessage(counts: TokenCounts): Message {
    const stop_reason = this.#stopReason(counts);
    const stop_sequence = stop_reason === 'stop_sequence' ? this.#ending.stopString! : null;
    const usage = toMessageUsage(counts);
    return { ...this.#head(), content: this.#blocks, stop_reason, stop_sequence, usage };
  }

  #head(): Pick<Message, 'id' | 'type' | 'role' | 'model'> {
    const { id, model } = this.#options.head;
    return { id, type: 'message', role: 'assistant', model };
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
    this.#report('content_block_start', { content_block: block });
    return block;
  }

  #close(): void {
    if (!this.#isOpen) return;
    const block = this.#blocks.at(-1)!;
    if (block.type === 'tool_use') block.input = toInput(this.#arguments);
    this.#arguments = '';
    this.#isOpen = false;
    this.#report('content_block_stop', {});
  }

  #reportDelta(delta: object): void {
    this.#report('content_block_delta', { delta });
  }

  /** Reports a change of the last block. */
  #report(type: string, members: object): void {
    this.#options.onEvent?.(type, { index: this.#blocks.length - 1, ...members });
  }
}

/** Parses the arguments of a call. Incomplete ones, which only a cut-off answer has, count as none. */
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
