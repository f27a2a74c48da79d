// Writes token logprobs in the two shapes of the API: a list for chat, four parallel lists for completions.
import type { TokenLogprob } from '../contracts/generation.ts';
import type {
  ChatLogprobs,
  ChatTokenLogprob,
  CompletionLogprobs,
  PromptLogprobs,
} from '../contracts/openai.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** Gathers one choice's logprobs; `take` hands over what came since the last time. */
export interface LogprobWriter<T> {
  add(token: TokenLogprob): void;
  /** The prompt's tokens; the first has no logprob, `logprobs[i]` is that of `promptIds[i + 1]`. */
  addPrompt(promptIds: readonly number[], logprobs: readonly TokenLogprob[]): void;
  take(): T;
}

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

/** The same scores with at most `count` alternatives. */
export function withTop(logprobs: readonly TokenLogprob[], count: number): TokenLogprob[] {
  return logprobs.map((scored) => ({ ...scored, top: scored.top.slice(0, count) }));
}

/** vLLM's prompt_logprobs: null for the first token, then each token's own score and its alternatives by id. */
export function toPromptLogprobs(
  logprobs: readonly TokenLogprob[],
  names: TokenNames,
): PromptLogprobs {
  const entries = logprobs.map(({ id, logprob, rank = 0, top }) => {
    const alternatives = top.map((other, i) => ({ ...other, rank: i + 1 }));
    const all = [...alternatives, { id, logprob, rank }];
    return Object.fromEntries(
      all.map((token) => [
        token.id,
        { logprob: token.logprob, rank: token.rank, decoded_token: names.name(token.id) },
      ]),
    );
  });
  return [null, ...entries];
}

function emptyLists(): CompletionLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
}

/** The alternatives, and the token itself where it is none of them. */
function toRecord(token: TokenLogprob, names: TokenNames): Record<string, number> {
  const entries = token.top.map(({ id, logprob }) => [names.name(id), logprob] as const);
  if (!token.top.some(({ id }) => id === token.id)) {
    entries.push([names.name(token.id), token.logprob]);
  }
  return Object.fromEntries(entries);
}

/** Where each token begins in the text, in code points; a token inside a character begins where that does. */
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

export interface TokenNames {
  /** Its text, `bytes:\xNN…` where that is no valid UTF-8, or `token_id:N` without a tokenizer. */
  name(id: number): string;
  bytes(id: number): Uint8Array | undefined;
  /** Control tokens have a name, but are no part of a text. */
  isInText(id: number): boolean;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** `byId`: every token is written as `token_id:N`. */
export function createTokenNames(
  tokenizer: Tokenizer | undefined,
  { byId }: { byId: boolean },
): TokenNames {
  // A model's logits may be wider than its tokenizer's vocabulary.
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
