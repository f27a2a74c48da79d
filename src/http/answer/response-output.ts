// The items of a response while they are written: messages and function calls. Reports changes to a listener, in the order of
// the API's events. An item's id contains the response's, so it is found without an index.
import type { ChatTokenLogprob, WireFinishReason } from '../../contracts/openai.ts';
import type {
  ResponseFunctionCall,
  ResponseOutputItem,
  ResponseOutputMessage,
  ResponseOutputText,
} from '../../contracts/responses.ts';
import type { AnswerPart } from '../../tools/call-parser.ts';

/** A message and its only text. */
interface MessageItem extends ResponseOutputMessage {
  content: [ResponseOutputText];
}

/** Receives the items' changes. `index` is the item's position in the output. */
export interface OutputListener {
  /** The item has no text yet. */
  opened(item: MessageItem | ResponseFunctionCall, index: number): void;
  textAdded(item: MessageItem, index: number, added: AddedText): void;
  argumentsAdded(item: ResponseFunctionCall, index: number, text: string): void;
  /** The item is complete, or was cut off. */
  closed(item: MessageItem | ResponseFunctionCall, index: number): void;
}

/** A piece of a message. */
interface AddedText {
  readonly text: string;
  readonly logprobs: readonly ChatTokenLogprob[];
}

/** Builds the output of one response. */
export class ResponseOutput {
  readonly #responseId: string;
  readonly #listener: OutputListener | undefined;
  readonly #items: (MessageItem | ResponseFunctionCall)[] = [];
  /** Scores of text that may still become a call. Calls have no scores. */
  #logprobs: ChatTokenLogprob[] = [];

  constructor(responseId: string, listener?: OutputListener) {
    this.#responseId = responseId;
    this.#listener = listener;
  }

  /** The items so far. */
  get items(): readonly ResponseOutputItem[] {
    return this.#items;
  }

  /** Opens a message, if none is open. */
  openMessage(): MessageItem {
    const last = this.#items.at(-1);
    if (last?.type === 'message') return last;
    const text: ResponseOutputText = {
      type: 'output_text',
      annotations: [],
      logprobs: [],
      text: '',
    };
    return this.#open({
      type: 'message',
      id: this.#nextId('msg'),
      status: 'in_progress',
      role: 'assistant',
      content: [text],
    });
  }

  /** Adds parts of the completion, and the scores of their tokens. */
  add(parts: readonly AnswerPart[], logprobs: readonly ChatTokenLogprob[]): void {
    this.#logprobs.push(...logprobs);
    for (const part of parts) this.#add(part);
  }

  /** Ends the output. A completion without any item gets an empty message. */
  finish(reason: WireFinishReason): void {
    if (this.#items.length === 0) this.openMessage();
    this.#close(reason === 'length' ? 'incomplete' : 'completed');
  }

  /** Ends the output after an error, without notifying the listener. */
  cutOff(): void {
    const last = this.#items.at(-1);
    if (last?.status === 'in_progress') last.status = 'incomplete';
  }

  #add(part: AnswerPart): void {
    const index = this.#items.length - 1;
    if (part.type === 'content') {
      const message = this.openMessage();
      const added = { text: part.text, logprobs: this.#logprobs };
      this.#logprobs = [];
      message.content[0].text += added.text;
      message.content[0].logprobs.push(...added.logprobs);
      this.#listener?.textAdded(message, this.#items.length - 1, added);
    } else if (part.type === 'call') {
      this.#logprobs = [];
      this.#open({
        type: 'function_call',
        id: this.#nextId('fc'),
        call_id: part.id,
        name: part.name,
        arguments: '',
        status: 'in_progress',
      });
    } else {
      const call = this.#items[index] as ResponseFunctionCall;
      call.arguments += part.text;
      this.#listener?.argumentsAdded(call, index, part.text);
    }
  }

  #open<Item extends MessageItem | ResponseFunctionCall>(item: Item): Item {
    this.#close('completed');
    this.#items.push(item);
    this.#listener?.opened(item, this.#items.length - 1);
    return item;
  }

  #close(status: 'completed' | 'incomplete'): void {
    const last = this.#items.at(-1);
    if (last?.status !== 'in_progress') return;
    last.status = status;
    this.#listener?.closed(last, this.#items.length - 1);
  }

  #nextId(prefix: 'msg' | 'fc'): string {
    return outputIdOf(prefix, this.#responseId, this.#items.length);
  }
}

/** The prefix of a response's id. */
export const RESPONSE_PREFIX = 'resp_';

const ITEM_ID = /^(?:msg|fc|in)_([0-9a-f]{32})(?:_\d{1,6})?$/;

/** Returns the id of an item in the response's output. `index` is its position there. */
function outputIdOf(prefix: 'msg' | 'fc', responseId: string, index: number): string {
  const id = `${prefix}_${responseId.slice(RESPONSE_PREFIX.length)}`;
  return index === 0 ? id : `${id}_${index}`;
}

/** Returns the id of an item in the response's input. */
export function inputIdOf(responseId: string, index: number): string {
  return `in_${responseId.slice(RESPONSE_PREFIX.length)}_${index}`;
}

/** Returns the id of an item's response, or undefined if the text is not an item id. */
export function responseIdOf(itemId: string): string | undefined {
  const part = ITEM_ID.exec(itemId)?.[1];
  return part === undefined ? undefined : `${RESPONSE_PREFIX}${part}`;
}
