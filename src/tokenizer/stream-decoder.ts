// Token by token to text: characters are given out once they are whole, and text that may become a stop
// string is held back. Time per token does not depend on the text so far. Knows no requests.
import type { StopStrings } from './stop-strings.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface StreamDecoder {
  /** The text that this token completes. Once `stopped`, nothing follows. */
  push(id: number): { text: string; stopped: boolean };
  /** The rest: an incomplete character becomes U+FFFD, text held back is given out. */
  end(): string;
}

export interface StreamDecoderOptions {
  /** Shared by all decoders of one request. */
  stop: StopStrings;
  /** Whether the text ends with the stop string. */
  includesStop?: boolean | undefined;
  /** Stop strings that these first tokens complete are text like any other. */
  minTokens?: number | undefined;
}

/**
 * All texts together are `decode(ids, { skipSpecials: true })`, cut at the first of the stop strings to be completed (of
 * several that end at one place, at the longest).
 */
export function createStreamDecoder(
  tokenizer: Pick<Tokenizer, 'tokenBytes' | 'specialIds' | 'trimStart'>,
  { stop, includesStop = false, minTokens = 0 }: StreamDecoderOptions,
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
  /** Gives out what can no longer become a stop string. */
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
      if (stopped || tokenizer.specialIds.has(id)) return { text: '', stopped };
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
