// A grammar and banned words as the sampler sees them: the tokens that a sequence may generate next. Knows no text and no grammar.

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

/** Words that one sequence must not generate. It has to be told every token. */
export interface TokenBan {
  /** The tokens that would complete a word. Not to be changed. */
  forbidden(): ReadonlySet<number>;
  /** Adds the next token, which must not be forbidden. */
  accept(id: number): void;
}

/** Tokens that follow in any case, because there is only one text that may follow. */
export interface ForcedTokens {
  readonly ids: readonly number[];
  /** Whether the text is complete after them. */
  readonly isEnd: boolean;
}
