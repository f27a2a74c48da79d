// Parses the text of a completion into content and calls as it arrives. Text that may become a call is held back; if it turns
// out not to be a call, it is content.
import type { ToolCall } from '../contracts/tools.ts';
import { CallScanner } from './call-scanner.ts';
import type { ToolFormat } from './formats.ts';

/** A part of a completion. A call's parts follow each other, and its concatenated arguments are the text of a JSON object. */
export type CompletionPart =
  | { readonly type: 'content'; readonly text: string }
  /** Starts a call. `index` counts the completion's calls from 0. */
  | { readonly type: 'call'; readonly index: number; readonly id: string; readonly name: string }
  | { readonly type: 'arguments'; readonly index: number; readonly text: string };

/** The calls to expect. */
interface CallParserOptions {
  /** The functions that can be called. A call of any other function is content. */
  readonly names: readonly string[];
  /** The most calls. Text after them is dropped. */
  readonly maxCalls: number;
  /** Returns a new call id. */
  createId(): string;
}

/** Parses a whole completion. */
export function parseCompletion(
  parser: CallParser,
  text: string,
): { content: string; calls: ToolCall[] } {
  let content = '';
  const calls: ToolCall[] = [];
  for (const part of [...parser.push(text), ...parser.end()]) {
    if (part.type === 'content') content += part.text;
    else if (part.type === 'call') calls.push({ id: part.id, name: part.name, arguments: '' });
    else calls.push(withArguments(calls.pop()!, part.text));
  }
  return { content, calls };
}

function withArguments(call: ToolCall, text: string): ToolCall {
  return { ...call, arguments: call.arguments + text };
}

/** The white space and punctuation that may separate two calls. */
const BETWEEN = /[\s,;[\]]/u;

/** Parses one completion. White space before and between calls is dropped. */
export class CallParser {
  readonly #format: ToolFormat;
  readonly #options: CallParserOptions;
  #parts: CompletionPart[] = [];
  #mode: 'start' | 'text' | 'calls' | 'ended';
  /** The unread end of the text, which may become a tag. */
  #held = '';
  /** White space after the content so far. */
  #space = '';
  /** The text since the opening tag or the last call. It is content if no call follows. */
  #tried = '';
  #hasCallInBlock = false;
  #scanner: CallScanner | undefined;
  #calls = 0;
  /** Whether content came after the last call. */
  #hasTextAfter = false;

  constructor(format: ToolFormat, options: CallParserOptions) {
    this.#format = format;
    this.#options = options;
    this.#mode = format.startsBare ? 'start' : 'text';
  }

  /** Reads more of the completion, and returns the parts that are complete. */
  push(text: string): CompletionPart[] {
    let rest = this.#held + text;
    this.#held = '';
    while (rest !== '' && this.#mode !== 'ended') {
      if (this.#mode === 'start') rest = this.#readStart(rest);
      else if (this.#mode === 'text') rest = this.#readText(rest);
      else if (this.#scanner) rest = this.#readCall(this.#scanner, rest);
      else rest = this.#readBetween(rest);
    }
    return this.#take();
  }

  /** Whether the arguments of a call are incomplete so far. */
  get isInCall(): boolean {
    return this.#scanner?.isOpen ?? false;
  }

  /**
   * Returns the text that was held back. The arguments of a truncated call stay incomplete. After a call, the beginning of a
   * further one is dropped, even if it is only a part of the tag.
   */
  end(): CompletionPart[] {
    const isFurther = this.#calls > 0 && (this.#mode === 'calls' || !this.#hasTextAfter);
    const isDropped = this.#mode === 'ended' || this.isInCall || isFurther;
    const rest = isDropped ? '' : this.#tried + this.#held;
    if (rest !== '' || this.#calls === 0) this.#addContent(this.#space + rest);
    this.#mode = 'ended';
    return this.#take();
  }

  #take(): CompletionPart[] {
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  /** Reads the start of a completion that may begin with an untagged call. */
  #readStart(text: string): string {
    const rest = text.trimStart();
    this.#space += text.slice(0, text.length - rest.length);
    if (rest !== '') this.#mode = rest.startsWith('{') ? 'calls' : 'text';
    return rest;
  }

  /** Reads up to an opening tag. Holds back white space, which is dropped before a tag, and text that may become a tag. */
  #readText(text: string): string {
    const { open } = this.#format;
    const at = text.indexOf(open);
    const end = at < 0 ? text.length - openLength(text, open) : at;
    const content = text.slice(0, end).trimEnd();
    if (content !== '') {
      this.#addContent(this.#space + content);
      this.#space = '';
    }
    this.#space += text.slice(content.length, end);
    if (at < 0) {
      this.#held = text.slice(end);
      return '';
    }
    this.#mode = 'calls';
    this.#hasCallInBlock = false;
    this.#tried = open;
    return text.slice(at + open.length);
  }

  #readBetween(text: string): string {
    const { close } = this.#format;
    let at = 0;
    while (at < text.length && BETWEEN.test(text[at]!)) at++;
    this.#tried += text.slice(0, at);
    const rest = text.slice(at);
    if (rest.startsWith('{')) {
      this.#scanner = this.#createScanner();
      return rest;
    }
    if (rest === '' || (close.startsWith(rest) && rest !== close)) {
      this.#held = rest;
      return '';
    }
    const isClosed = close !== '' && rest.startsWith(close);
    if (isClosed) this.#tried += close;
    this.#endBlock({ isText: !this.#hasCallInBlock });
    return isClosed ? rest.slice(close.length) : rest;
  }

  #readCall(scanner: CallScanner, text: string): string {
    const end = scanner.read(text, 0);
    this.#tried += text.slice(0, end);
    if (scanner.state === 'reading') return '';
    this.#scanner = undefined;
    if (scanner.isOpen) {
      this.#tried = '';
      this.#hasCallInBlock = true;
      this.#hasTextAfter = false;
      if (++this.#calls >= this.#options.maxCalls) this.#mode = 'ended';
    } else {
      this.#endBlock({ isText: true });
    }
    return text.slice(end);
  }

  #createScanner(): CallScanner {
    const { names, createId } = this.#options;
    const index = this.#calls;
    return new CallScanner({
      accepts: (name) => names.includes(name),
      open: (name) => {
        this.#space = '';
        this.#parts.push({ type: 'call', index, id: createId(), name });
      },
      addArguments: (text) => this.#parts.push({ type: 'arguments', index, text }),
    });
  }

  /** Returns to text. `isText`: whether the attempted call turned out to be content. */
  #endBlock({ isText }: { isText: boolean }): void {
    if (isText) {
      this.#addContent(this.#space + this.#tried);
      this.#space = '';
    }
    this.#tried = '';
    this.#hasCallInBlock = false;
    this.#mode = 'text';
  }

  #addContent(text: string): void {
    this.#hasTextAfter = true;
    if (text !== '') this.#parts.push({ type: 'content', text });
  }
}

/** Returns the length of the longest proper prefix of `tag` that the text ends with. */
function openLength(text: string, tag: string): number {
  for (let length = Math.min(tag.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(tag.slice(0, length))) return length;
  }
  return 0;
}
