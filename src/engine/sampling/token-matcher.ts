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
  /** Adds the next token, which must be allowed. */
  accept(id: number): void;
}
