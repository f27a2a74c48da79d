// Decodes a stream of tokens. Incomplete characters, and text that may become a stop string, are held back. The time per token
// does not depend on the length of the text.
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

/** The automaton's state after some text. */
type StopState = number & { readonly __stopState: true };

/** An automaton that recognizes a set of strings. */
interface StopStrings {
  readonly start: StopState;
  /** Returns the state after one more UTF-16 unit. */
  next(state: StopState, unit: number): StopState;
  /** Returns the length of the longest string that ends here, or 0. */
  completed(state: StopState): number;
  /** Returns the length of the longest suffix of the text that may be the start of a string. */
  open(state: StopState): number;
}

/** Builds the automaton, in time and memory proportional to the total length of the strings. No string may be empty. */
export function createStopStrings(strings: readonly string[]): StopStrings {
  const edges: Map<number, number>[] = [new Map()]; // per node, unit → node
  const depths = [0];
  const completed = [0]; // per node, the length of the longest string that ends there
  for (const text of strings) {
    let node = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let child = edges[node]!.get(unit);
      if (child === undefined) {
        child = edges.push(new Map()) - 1;
        depths.push(i + 1);
        completed.push(0);
        edges[node]!.set(unit, child);
      }
      node = child;
    }
    completed[node] = text.length;
  }
  const fallbacks = new Int32Array(edges.length);
  const follow = (from: number, unit: number): number => {
    for (let node = from; ; node = fallbacks[node]!) {
      const child = edges[node]!.get(unit);
      if (child !== undefined) return child;
      if (node === 0) return 0;
    }
  };
  // Breadth first: a node's fallback is closer to the root and must be complete first.
  const queue = [...edges[0]!.values()];
  for (const node of queue) {
    for (const [unit, child] of edges[node]!) {
      fallbacks[child] = follow(fallbacks[node]!, unit);
      queue.push(child);
    }
    completed[node] ||= completed[fallbacks[node]!]!;
  }
  return {
    start: 0 as StopState,
    next: (state, unit) => follow(state, unit) as StopState,
    completed: (state) => completed[state]!,
    open: (state) => depths[state]!,
  };
}
