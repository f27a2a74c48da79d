// How single tokens are written in logprobs. A token may be part of a character: then it is written by its bytes.
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

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
