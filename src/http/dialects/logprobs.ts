// Writes token logprobs in the two shapes of the API: one list for chat, four parallel lists for completions.
import type { TokenLogprob } from '../../contracts/generation.ts';
import type { ChatLogprobs, ChatTokenLogprob, CompletionLogprobs } from '../../contracts/openai.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** The scores of a prompt. `logprobs[i]` belongs to `ids[i + 1]`: the first token has none. */
interface ScoredPrompt {
  readonly ids: readonly number[];
  readonly logprobs: readonly TokenLogprob[];
}

/** Writes further scores of one choice: those of its prompt, if the choice repeats it, then those of generated tokens. */
export type ScoreWriter<T> = (scored: readonly TokenLogprob[], prompt?: ScoredPrompt) => T;

/** Creates a writer of the list that chat uses. Chat does not repeat prompts. */
export function createChatLogprobs(names: TokenNames): ScoreWriter<ChatLogprobs> {
  return (scored) => ({
    content: scored.map((token) => toChatLogprob(token, names)),
    refusal: null,
  });
}

/** Writes the scores of one token as chat does. */
export function toChatLogprob(
  { id, logprob, top }: TokenLogprob,
  names: TokenNames,
): ChatTokenLogprob {
  const entry = (id: number, logprob: number) => {
    const bytes = names.bytes(id);
    return { token: names.name(id), bytes: bytes ? [...bytes] : null, logprob };
  };
  const alternatives = top.map((other) => entry(other.id, other.logprob));
  return { ...entry(id, logprob), top_logprobs: alternatives };
}

/** Creates a writer of the parallel lists that completions use. */
export function createCompletionLogprobs(names: TokenNames): ScoreWriter<CompletionLogprobs> {
  const offsets = createOffsets(names);
  return (scored, { ids, logprobs } = { ids: [], logprobs: [] }) => {
    const entries = [
      ...ids.map((id, i) => ({ id, score: logprobs[i - 1] })),
      ...scored.map((score) => ({ id: score.id, score })),
    ];
    return {
      tokens: entries.map(({ id }) => names.name(id)),
      token_logprobs: entries.map(({ score }) => score?.logprob ?? null),
      top_logprobs: entries.map(({ score }) => (score ? toRecord(score, names) : null)),
      text_offset: entries.map(({ id }) => offsets.next(id)),
    };
  };
}

/**
 * The logprobs of one choice as UTF-8 JSON, written token by token. As objects, the logprobs of a long completion would take
 * more than twice the memory, and writing them at its end would block the event loop.
 */
export class LogprobsText {
  readonly #write: ScoreWriter<object>;
  /** Member → its items so far, with commas. Undefined if the member is null. */
  readonly #members = new Map<string, Buffer[] | undefined>();

  constructor(write: ScoreWriter<object>) {
    this.#write = write;
    this.add([]);
  }

  add(...scores: Parameters<ScoreWriter<object>>): void {
    for (const [name, items] of Object.entries(this.#write(...scores))) {
      const list = this.#members.get(name) ?? (items ? [] : undefined);
      this.#members.set(name, list);
      if (!list || items.length === 0) continue;
      const comma = list.length > 0 ? ',' : '';
      list.push(Buffer.from(comma + JSON.stringify(items).slice(1, -1)));
    }
  }

  /** Returns what the writer would return for all scores together, in parts. */
  toJson(): (string | Buffer)[] {
    const members = [...this.#members].flatMap(([name, items], i) => {
      const opening = `${i === 0 ? '{' : ','}"${name}":`;
      return items ? [`${opening}[`, ...items, ']'] : [`${opening}null`];
    });
    return [...members, '}'];
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
