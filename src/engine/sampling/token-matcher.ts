// A grammar as the sampler sees it: the tokens that a sequence may generate next. Knows no text and no grammar.

/** The tokens that one sequence may generate. It has to be told every token. */
export interface TokenMatcher {
  /**
   * The tokens that may follow: bit `id % 32` of word `id >> 5`. Not to be changed. Without those that end the sequence.
   * Throws `ServeError` if they take too long to find.
   */
  allowed(): Uint32Array;
  /** Whether the sequence may end here. */
  readonly canEnd: boolean;
  /** Whether nothing but the end may follow. */
  readonly isComplete: boolean;
  /** The tokens that follow in any case. Cheap to ask again. */
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
