// The tokens that a sequence must not draw next: those that complete a bad word, end it before its minimum length, are not
// among its allowed tokens, or do not fit its grammar. Knows no probabilities.
import type { SamplingParams } from '../../contracts/generation.ts';
import type { MatchingWork } from '../../contracts/matching-work.ts';
import type { ForcedTokens, TokenMatcher } from './token-matcher.ts';

type Constrained = Pick<SamplingParams, 'allowedTokenIds' | 'badWords' | 'minTokens'>;

const NOTHING: ReadonlySet<number> = new Set();
const NOT_FORCED: ForcedTokens = { ids: [], isEnd: false };

/** The sequence that constraints belong to. */
export interface ConstraintContext {
  /** The tokens that end the sequence. Default: none. */
  stopTokenIds?: readonly number[];
}

/** The constraints of one sequence, and its last tokens. */
export class Constraints {
  readonly #params: Constrained;
  readonly #endings: ReadonlySet<number>;
  /** Bad words of one token, which are never drawn. */
  readonly #never: ReadonlySet<number>;
  readonly #longWords: readonly (readonly number[])[];
  /** The last generated tokens, as many as the longest bad word has before its last token. */
  readonly #recent: number[] = [];
  readonly #recentCount: number;
  readonly #stopTokenIds: readonly number[];
  /** The bits of `allowedTokenIds`. */
  readonly #listed: Uint32Array | undefined;
  #matcher: TokenMatcher | undefined;
  #forced = NOT_FORCED;
  #generated = 0;

  constructor(params: Constrained, { stopTokenIds = [] }: ConstraintContext) {
    const { badWords = [], minTokens } = params;
    this.#params = params;
    this.#stopTokenIds = stopTokenIds;
    if (params.allowedTokenIds) {
      const last = params.allowedTokenIds.reduce((most, id) => Math.max(most, id), 0);
      this.#listed = new Uint32Array((last >> 5) + 1);
      for (const id of params.allowedTokenIds) addToken(this.#listed, id);
    }
    this.#endings = new Set(minTokens?.endings);
    this.#never = new Set(badWords.flatMap((word) => (word.length === 1 ? word : [])));
    this.#longWords = badWords.filter((word) => word.length > 1);
    this.#recentCount = Math.max(0, ...this.#longWords.map((word) => word.length - 1));
  }

  /** Tokens that must not be drawn next. Does not include those that `allowed` leaves out. */
  forbidden(): ReadonlySet<number> {
    const completing = this.#longWords.flatMap((word) => (this.#isBegun(word) ? word.at(-1)! : []));
    if (!this.#isTooShort && completing.length === 0) return this.#never;
    return new Set([
      ...this.#never,
      ...completing,
      ...(this.#isTooShort ? this.#endings : NOTHING),
    ]);
  }

  /** Restricts the sequence to what a grammar allows, from its first token on. */
  follow(matcher: TokenMatcher): void {
    this.#matcher = matcher;
  }

  /** See `TokenMatcher`. */
  grant(work: MatchingWork): void {
    this.#matcher?.grant(work);
  }

  /** Matches as far as the granted work allows. Returns whether a token can be drawn: false at the end of the grammar, too. */
  prepare(): boolean {
    if (!this.#matcher || this.#forced.ids.length > 0) return true;
    if (!this.#findForced()) return false;
    if (this.#forced.ids.length > 0) return true;
    return this.#matcher.prepare('allowed') && !this.isComplete;
  }

  /** The tokens that follow in any case. */
  get forced(): ForcedTokens {
    return this.#forced;
  }

  /**
   * With other constraints, the same text may have to be written with other tokens, which are found one by one. A minimum
   * length may forbid the end. Returns false if the search has to continue.
   */
  #findForced(): boolean {
    const { allowedTokenIds, badWords, minTokens } = this.#params;
    if (!this.#matcher || allowedTokenIds || badWords || minTokens) return true;
    if (!this.#matcher.prepare('forced')) return false;
    this.#forced = this.#matcher.forced();
    return true;
  }

  /**
   * The tokens that may be drawn next, except the forbidden ones: bit `id % 32` of word `id >> 5`, valid until the next call.
   * Undefined: all.
   */
  allowed(): Uint32Array | undefined {
    if (!this.#matcher) return this.#listed;
    const matched = this.#matcher.allowed();
    if (!this.#listed && !this.#matcher.canEnd) return matched;
    const allowed = Uint32Array.from(matched);
    if (this.#matcher.canEnd) for (const id of this.#stopTokenIds) addToken(allowed, id);
    const listed = this.#listed;
    if (listed) for (let i = 0; i < allowed.length; i++) allowed[i]! &= listed[i] ?? 0;
    return allowed;
  }

  /** Whether the grammar is at its end, and the sequence is long enough. */
  get isComplete(): boolean {
    return this.#matcher?.isComplete === true && !this.#isTooShort;
  }

  /** Counts a generated token. */
  record(id: number): void {
    this.#generated++;
    this.#follow(id);
    if (this.#recentCount === 0) return;
    this.#recent.push(id);
    if (this.#recent.length > this.#recentCount) this.#recent.shift();
  }

  #follow(id: number): void {
    if (!this.#matcher || this.#stopTokenIds.includes(id)) return;
    this.#matcher.accept(id);
    this.#forced = { ...this.#forced, ids: this.#forced.ids.slice(1) };
    if (this.#forced.ids.length === 0) this.#findForced();
  }

  get #isTooShort(): boolean {
    return this.#generated < (this.#params.minTokens?.count ?? 0);
  }

  /** Whether the last generated tokens are the word without its last token. */
  #isBegun(word: readonly number[]): boolean {
    const start = this.#recent.length - (word.length - 1);
    if (start < 0) return false;
    for (let i = 0; i < word.length - 1; i++) {
      if (word[i] !== this.#recent[start + i]) return false;
    }
    return true;
  }
}

function addToken(set: Uint32Array, id: number): void {
  set[id >> 5]! |= 1 << (id & 31);
}
