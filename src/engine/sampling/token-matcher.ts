// A grammar as the sampler sees it: the tokens that a sequence may generate next. Knows no text and no grammar.

import type { MatchingWork } from '../../contracts/matching-work.ts';

/** The tokens that one sequence may generate. It has to be told every token. */
export interface TokenMatcher {
  /** Sets the work that it may do until the next grant. Others may share it. Before the first grant there is no limit. */
  grant(work: MatchingWork): void;
  /**
   * Finds the forced or the allowed tokens, as far as the granted work allows. Returns whether they can be asked for: if not, the
   * search continues with the next call.
   */
  prepare(what: 'forced' | 'allowed'): boolean;
  /**
   * The tokens that may follow: bit `id % 32` of word `id >> 5`. Not to be changed. Without those that end the sequence.
   * Throws `ServeError` if they take too long to find.
   */
  allowed(): Uint32Array;
  /** Whether the sequence may end here. */
  readonly canEnd: boolean;
  /** Whether nothing but the end may follow. False as long as that is not found out. */
  readonly isComplete: boolean;
  /** The tokens that follow in any case. */
  forced(): ForcedTokens;
  /** Adds the next token, which must be allowed. */
  accept(id: number): void;
}

/** Tokens that follow in any case, because there is only one text that may follow. */
export interface ForcedTokens {
  readonly ids: readonly number[];
  /** Whether the text is complete after them. */
  readonly isEnd: boolean;
}
