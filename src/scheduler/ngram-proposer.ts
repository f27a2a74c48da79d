// Drafts by prompt lookup: finds an earlier occurrence of a sequence's last tokens, and proposes the tokens that followed it.
// Works on token ids alone.

/** Guesses the next tokens of one sequence. A wrong guess costs time but changes no token. */
export interface Proposer {
  /** Adds the next token of the sequence. Cheap even if nothing is ever proposed. */
  append(tokenId: number): void;
  /** Returns at most `maxTokens` guesses for the tokens after the last added one. */
  propose(maxTokens: number): readonly number[];
}

/** The longest suffix that is compared. Longer matches hardly predict better. */
const MAX_MATCH = 4;
/** The shortest suffix that counts as a match. */
const MIN_MATCH = 2;
/** How many earlier occurrences are compared, latest first. Bounds the time of a step on repetitive text. */
const MAX_CANDIDATES = 32;
/** All token ids are below this. Two ids are combined into one number. */
const ID_LIMIT = 2 ** 24;

/** Proposes the continuation of the longest match. Among equally long matches the latest wins. */
export class NgramProposer implements Proposer {
  readonly #tokens: number[];
  /** Pair of tokens → the position of its second token at its last occurrence. */
  readonly #latest = new Map<number, number>();
  /** Position → the position of the previous occurrence of the same pair, or -1. */
  readonly #previous: number[] = [];

  /** @param predictionIds text that the completion probably repeats */
  constructor(promptIds: readonly number[], predictionIds: readonly number[] = []) {
    // The end of the prompt stands before the prediction, so that the prediction's start can match.
    const predicted = predictionIds.length > 0 ? promptIds.slice(-MAX_MATCH) : [];
    this.#tokens = [...predicted, ...predictionIds, ...promptIds];
  }

  append(tokenId: number): void {
    this.#tokens.push(tokenId);
  }

  propose(maxTokens: number): readonly number[] {
    this.#index();
    const match = this.#longestMatch();
    if (match === undefined) return [];
    // A match that overlaps its own continuation repeats.
    const period = this.#tokens.length - 1 - match;
    const guesses: number[] = [];
    for (let i = 0; i < maxTokens; i++) guesses.push(this.#tokens[match + 1 + (i % period)]!);
    return guesses;
  }

  /** Indexes the tokens that were added since the last call. Looks up nothing. */
  #index(): void {
    const tokens = this.#tokens;
    if (this.#previous.length === 0) this.#previous.push(-1);
    for (let i = this.#previous.length; i < tokens.length; i++) {
      const pair = tokens[i - 1]! * ID_LIMIT + tokens[i]!;
      this.#previous.push(this.#latest.get(pair) ?? -1);
      this.#latest.set(pair, i);
    }
  }

  /** The position of the last token of the best match before the end of the text. */
  #longestMatch(): number | undefined {
    const last = this.#tokens.length - 1;
    let best: number | undefined;
    let bestLength = MIN_MATCH - 1;
    let at = this.#previous[last] ?? -1;
    for (let i = 0; i < MAX_CANDIDATES && at > 0 && bestLength < MAX_MATCH; i++) {
      const length = this.#matchLength(at, last);
      if (length > bestLength) [best, bestLength] = [at, length];
      at = this.#previous[at]!;
    }
    return best;
  }

  /** How many tokens before and at both positions are equal, up to `MAX_MATCH`. */
  #matchLength(one: number, other: number): number {
    let length = 0;
    while (
      length < MAX_MATCH &&
      length <= one &&
      this.#tokens[one - length] === this.#tokens[other - length]
    ) {
      length++;
    }
    return length;
  }
}
