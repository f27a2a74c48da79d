// Decodes a stream of tokens. Incomplete characters, and text that may become a stop string, are held back. The time per token
// does not depend on the length of the text.
import { buildSearch, type SearchPosition, searchStep } from '../common/text-search.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Decodes the tokens of one sequence. */
export interface StreamDecoder {
  /** Returns the text that this token completes. After `stopped`, no more text follows. */
  push(id: number): { text: string; stopped: boolean };
  /** The stop string that ended the text. */
  readonly stopString: string | undefined;
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
  let stopString: string | undefined;
  let tokens = 0;
  let position = stop.start;

  const trim = (text: string) => {
    if (!mayTrim || text === '') return text;
    mayTrim = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  };
  /** Returns the text that can no longer become a stop string. */
  const release = (text: string): string => {
    const all = held + text;
    for (let i = 0; i < text.length; i++) {
      position = searchStep(stop.start, position, text.charCodeAt(i));
      if (position.match === undefined || tokens <= minTokens) continue;
      stopString = stop.strings[position.match]!;
      const cutLength = includesStop ? 0 : stopString.length;
      return all.slice(0, held.length + i + 1 - cutLength);
    }
    const open = includesStop ? 0 : Math.min(position.depth, all.length);
    held = all.slice(all.length - open);
    return all.slice(0, all.length - open);
  };

  return {
    get stopString() {
      return stopString;
    },
    push(id) {
      if (stopString !== undefined) return { text: '', stopped: true };
      tokens++;
      const isHidden = tokenizer.specialIds.has(id) && !shownSpecials?.has(id);
      if (isHidden) return { text: '', stopped: false };
      const text = release(trim(decoder.decode(tokenizer.tokenBytes(id), { stream: true })));
      return { text, stopped: stopString !== undefined };
    },
    end() {
      if (stopString !== undefined) return '';
      const text = release(trim(decoder.decode()));
      return stopString === undefined ? text + held : text;
    },
  };
}

/** The strings that end a completion, compiled. */
interface StopStrings {
  readonly strings: readonly string[];
  readonly start: SearchPosition;
}

/** Compiles stop strings, which must not be empty. */
export function createStopStrings(strings: readonly string[]): StopStrings {
  const units = strings.map((text) =>
    Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)),
  );
  return { strings, start: buildSearch(units)[0] };
}
