// Token by token to text: characters are given out once they are whole, and text that may become a stop
// string is held back. Time per token does not depend on the text so far. Knows no requests.
import type { Tokenizer } from './tokenizer.ts';

export interface StreamDecoder {
  /** The text that this token completes. Once `stopped`, nothing follows. */
  push(id: number): { text: string; stopped: boolean };
  /** The rest: an incomplete character becomes U+FFFD, text held back is given out. */
  end(): string;
}

/**
 * All texts together are `decode(ids, { skipSpecials: true })`, cut before the first of the `stop` strings
 * to be completed (of several that end at one place, before the longest). Stop strings are not empty.
 */
export function createStreamDecoder(
  tokenizer: Pick<Tokenizer, 'tokenBytes' | 'specialIds' | 'trimStart'>,
  options: { stop: readonly string[] },
): StreamDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const matchers = options.stop.map(createMatcher);
  let mayTrim = tokenizer.trimStart;
  let held = '';
  let stopped = false;

  const trim = (text: string) => {
    if (!mayTrim || text === '') return text;
    mayTrim = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  };
  /** Gives out what can no longer become a stop string. */
  const release = (text: string): string => {
    const all = held + text;
    for (let i = 0; i < text.length; i++) {
      const completed = feedAll(matchers, text.charCodeAt(i));
      if (completed === 0) continue;
      stopped = true;
      return all.slice(0, held.length + i + 1 - completed);
    }
    const open = Math.max(0, ...matchers.map((matcher) => matcher.matched));
    held = all.slice(all.length - open);
    return all.slice(0, all.length - open);
  };

  return {
    push(id) {
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

/** Advances every matcher; returns the length of the longest stop string that this unit completes, or 0. */
function feedAll(matchers: readonly Matcher[], unit: number): number {
  let completed = 0;
  for (const matcher of matchers) {
    if (matcher.feed(unit)) completed = Math.max(completed, matcher.length);
  }
  return completed;
}

interface Matcher {
  readonly length: number;
  /** How many units of the pattern the text ends with. */
  readonly matched: number;
  /** Takes one UTF-16 unit; true where it completes the pattern. */
  feed(unit: number): boolean;
}

/** Knuth, Morris and Pratt's automaton for one pattern. */
function createMatcher(pattern: string): Matcher {
  const fallback = new Int32Array(pattern.length + 1); // longest border of each prefix
  for (let i = 1, border = 0; i < pattern.length; i++) {
    while (border > 0 && pattern[i] !== pattern[border]) border = fallback[border]!;
    if (pattern[i] === pattern[border]) border++;
    fallback[i + 1] = border;
  }
  let matched = 0;
  return {
    length: pattern.length,
    get matched() {
      return matched;
    },
    feed(unit) {
      while (matched > 0 && pattern.charCodeAt(matched) !== unit) matched = fallback[matched]!;
      if (pattern.charCodeAt(matched) === unit) matched++;
      return matched === pattern.length;
    },
  };
}
