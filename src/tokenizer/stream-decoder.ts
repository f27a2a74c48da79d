// Decodes a stream of tokens. Incomplete characters, and text that may become a stop string, are held back. The time per token
// does not depend on the length of the text.
import type { StopStrings } from './stop-strings.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Decodes the tokens of one sequence. */
export interface StreamDecoder {
  /** Returns the text that this token completes. After `stopped`, no more text follows. */
  push(id: number): { text: string; stopped: boolean };
  /** Returns the text that was held back. An incomplete character becomes U+FFFD. */
  end(): string;
}

/** Options of `createStreamDecoder`. */
export interface StreamDecoderOptions {
  /** The stop strings. All decoders of a request share them. */
  stop: StopStrings;
  /** Whether the stop string is part of the text. */
  includesStop?: boolean | undefined;
  /** Stop strings completed within this many tokens count as ordinary text. */
  minTokens?: number | undefined;
  /** Control tokens that appear in the text. Others are omitted. */
  shownSpecials?: ReadonlySet<number> | undefined;
}

/**
 * Creates a decoder. Its concatenated texts equal `decode(ids, { skipSpecials: true })`, cut at the stop string that is
 * completed first. If several end at the same position, the longest counts.
 */
export function createStreamDecoder(
  tokenizer: Pick<Tokenizer, 'tokenBytes' | 'specialIds' | 'trimStart'>,
  { stop, includesStop = false, minTokens = 0, shownSpecials }: StreamDecoderOptions,
): StreamDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let mayTrim = tokenizer.trimStart;
  let held = '';
  let stopped = false;
  let tokens = 0;
  let state = stop.start;

  const trim = (text: string) => {
    if (!mayTrim || text === '') return text;
    mayTrim = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  };
  /** Returns the text that can no longer become a stop string. */
  const release = (text: string): string => {
    const all = held + text;
    for (let i = 0; i < text.length; i++) {
      state = stop.next(state, text.charCodeAt(i));
      const completed = stop.completed(state);
      if (completed === 0 || tokens <= minTokens) continue;
      stopped = true;
      return all.slice(0, held.length + i + 1 - (includesStop ? 0 : completed));
    }
    const open = includesStop ? 0 : Math.min(stop.open(state), all.length);
    held = all.slice(all.length - open);
    return all.slice(0, all.length - open);
  };

  return {
    push(id) {
      if (!stopped) tokens++;
      const isHidden = tokenizer.specialIds.has(id) && !shownSpecials?.has(id);
      if (stopped || isHidden) return { text: '', stopped };
      const text = trim(decoder.decode(tokenizer.tokenBytes(id), { stream: true }));
      return { text: release(text), stopped };
    },
    end() {
      if (stopped) return '';
      const text = release(trim(decoder.decode()));
      return stopped ? text : text + held;
    },
  };
}
