// Writes token logprobs in the two shapes of the API: one list for chat, four parallel lists for completions.
import type { TokenLogprob } from '../../contracts/generation.ts';
import type { ChatLogprobs, ChatTokenLogprob, CompletionLogprobs } from '../../contracts/openai.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** Collects the logprobs of one choice. */
export interface LogprobWriter<T> {
  add(token: TokenLogprob): void;
  /** Adds the prompt's tokens. `logprobs[i]` belongs to `promptIds[i + 1]`: the first token has none. */
  addPrompt(promptIds: readonly number[], logprobs: readonly TokenLogprob[]): void;
  /** Returns what was added since the last call. */
  take(): T;
}

/** Creates a writer of the list that chat uses. */
export function createChatLogprobs(names: TokenNames): LogprobWriter<ChatLogprobs> {
  let content: ChatTokenLogprob[] = [];
  const entry = (id: number, logprob: number) => {
    const bytes = names.bytes(id);
    return { token: names.name(id), bytes: bytes ? [...bytes] : null, logprob };
  };
  return {
    add({ id, logprob, top }) {
      const alternatives = top.map((other) => entry(other.id, other.logprob));
      content.push({ ...entry(id, logprob), top_logprobs: alternatives });
    },
    addPrompt() {}, // chat does not echo
    take() {
      const taken = content;
      content = [];
      return { content: taken, refusal: null };
    },
  };
}

/** Creates a writer of the parallel lists that completions use. */
export function createCompletionLogprobs(names: TokenNames): LogprobWriter<CompletionLogprobs> {
  let lists = emptyLists();
  const offsets = createOffsets(names);
  const add = (id: number, scored: TokenLogprob | undefined) => {
    lists.tokens.push(names.name(id));
    lists.token_logprobs.push(scored ? scored.logprob : null);
    lists.top_logprobs.push(scored ? toRecord(scored, names) : null);
    lists.text_offset.push(offsets.next(id));
  };
  return {
    add: (token) => add(token.id, token),
    addPrompt(promptIds, logprobs) {
      for (const [i, id] of promptIds.entries()) add(id, logprobs[i - 1]);
    },
    take() {
      const taken = lists;
      lists = emptyLists();
      return taken;
    },
  };
}

/**
 * The logprobs of one choice as UTF-8 JSON, written token by token. As objects, the logprobs of a long completion would take
 * more than twice the memory, and writing them at its end would block the event loop.
 */
export class LogprobsText {
  readonly #writer: LogprobWriter<object>;
  /** Member → its items so far, with commas. Undefined if the member is null. */
  readonly #members = new Map<string, Buffer[] | undefined>();

  constructor(writer: LogprobWriter<object>) {
    this.#writer = writer;
  }

  add(token: TokenLogprob): void {
    this.#writer.add(token);
    this.#write();
  }

  addPrompt(...prompt: Parameters<LogprobWriter<object>['addPrompt']>): void {
    this.#writer.addPrompt(...prompt);
    this.#write();
  }

  /** Returns the logprobs that the writer's `take` would return at the end, in parts. */
  toJson(): (string | Buffer)[] {
    this.#write();
    const members = [...this.#members].flatMap(([name, items], i) => {
      const opening = `${i === 0 ? '{' : ','}"${name}":`;
      return items ? [`${opening}[`, ...items, ']'] : [`${opening}null`];
    });
    return [...members, '}'];
  }

  #write(): void {
    for (const [name, items] of Object.entries(this.#writer.take())) {
      const list = this.#members.get(name) ?? (items ? [] : undefined);
      this.#members.set(name, list);
      if (!list || items.length === 0) continue;
      const comma = list.length > 0 ? ',' : '';
      list.push(Buffer.from(comma + JSON.stringify(items).slice(1, -1)));
    }
  }
}

/** Returns the logprobs with at most `count` alternatives each. */
export function withTop(logprobs: readonly TokenLogprob[], count: number): TokenLogprob[] {
  return logprobs.map((scored) => ({ ...scored, top: scored.top.slice(0, count) }));
}

/**
 * Writes vLLM's prompt_logprobs as JSON: null for the first token, then each token, its alternatives and the tokens that were
 * asked for, by id. Building objects with integer keys would take five times as long.
 */
export function writePromptLogprobs(logprobs: readonly TokenLogprob[], names: TokenNames): string {
  const quotedNames = new Map<number, string>();
  const nameOf = (id: number) => {
    const name = quotedNames.get(id) ?? JSON.stringify(names.name(id));
    quotedNames.set(id, name);
    return name;
  };
  const entry = (id: number, logprob: number, rank: number) =>
    `"${id}":{"logprob":${Number.isFinite(logprob) ? logprob : null},"rank":${rank},"decoded_token":${nameOf(id)}}`;
  const tokens = logprobs.map(({ id, logprob, rank = 0, top, targets = [] }) => {
    const entries = top.map((other, i) =>
      other.id === id ? entry(id, logprob, rank) : entry(other.id, other.logprob, i + 1),
    );
    const seen = new Set(top.map((other) => other.id));
    for (const other of [{ id, logprob, rank }, ...targets]) {
      if (!seen.has(other.id)) entries.push(entry(other.id, other.logprob, other.rank));
      seen.add(other.id);
    }
    return `{${entries.join()}}`;
  });
  return `[${['null', ...tokens].join()}]`;
}

function emptyLists(): CompletionLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}

/** The alternatives, and the token itself if it is not among them. */
function toRecord(token: TokenLogprob, names: TokenNames): Record<string, number> {
  const entries = token.top.map(({ id, logprob }) => [names.name(id), logprob] as const);
  if (!token.top.some(({ id }) => id === token.id)) {
    entries.push([names.name(token.id), token.logprob]);
  }
  return Object.fromEntries(entries);
}

/** Computes each token's offset in the text, in code points. A token inside a character gets the character's offset. */
function createOffsets(names: TokenNames): { next(id: number): number } {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let offset = 0;
  return {
    next(id) {
      const start = offset;
      const bytes = names.isInText(id) ? names.bytes(id) : undefined;
      if (bytes) for (const _ of decoder.decode(bytes, { stream: true })) offset++;
      return start;
    },
  };
}

/** How tokens are written in logprobs. */
export interface TokenNames {
  /** Returns the token's text, `bytes:\xNN…` if it is not valid UTF-8, or `token_id:N` without a tokenizer. */
  name(id: number): string;
  bytes(id: number): Uint8Array | undefined;
  /** Whether the token is part of the text. Control tokens are not. */
  isInText(id: number): boolean;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the names of a tokenizer's tokens. With `byId`, every token is written as `token_id:N`. */
export function createTokenNames(
  tokenizer: Tokenizer | undefined,
  { byId }: { byId: boolean },
): TokenNames {
  // A model may have more logits than its tokenizer has tokens.
  const bytes = (id: number) => {
    return tokenizer?.idToToken(id) === undefined ? undefined : tokenizer.tokenBytes(id);
  };
  return {
    bytes,
    isInText: (id) => tokenizer?.specialIds.has(id) === false,
    name(id) {
      const raw = byId ? undefined : bytes(id);
      if (!raw) return `token_id:${id}`;
      try {
        return UTF8.decode(raw);
      } catch {
        return `bytes:${[...raw].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
      }
    },
  };
}
