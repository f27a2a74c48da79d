// The tokens that a sequence must not draw next: tokens that complete a banned word, end it before its minimum length, are not
// among its allowed tokens, or do not fit its grammar. Decides by token ids alone, without logits.
import type { SamplingParams } from '../../contracts/generation.ts';
import type { WorkBudget } from '../../contracts/work-budget.ts';
import type { Matcher } from '../../grammar/matcher.ts';
import type { BannedWords } from '../../grammar/word-ban.ts';

type Constrained = Pick<SamplingParams, 'allowedTokenIds' | 'minTokens'>;

const NOTHING: ReadonlySet<number> = new Set();
/** The tokens that a sequence may generate next, by its grammar. Must be notified of every token. */
export type TokenMatcher = Pick<
  Matcher,
  'setBudget' | 'prepare' | 'allowed' | 'canEnd' | 'isComplete' | 'forced' | 'accept'
>;
/** The words that a sequence must not generate. Must be notified of every token. */
export type TokenBan = Pick<BannedWords, 'forbidden' | 'accept'>;
/** Tokens that are certain to follow, because only one text may follow. */
type ForcedTokens = ReturnType<Matcher['forced']>;

const NOT_FORCED: ForcedTokens = { ids: [], isEnd: false };

/** The constraints of one sequence. */
export class Constraints {
  readonly #params: Constrained;
  readonly #endings: ReadonlySet<number>;
  readonly #stopTokenIds: readonly number[];
  /** The bits of `allowedTokenIds`. */
  readonly #listed: Uint32Array | undefined;
  #matcher: TokenMatcher | undefined;
  #ban: TokenBan | undefined;
  #forced = NOT_FORCED;
  #generated = 0;

  /** `stopTokenIds` end the sequence. */
  constructor(params: Constrained, stopTokenIds: readonly number[] = []) {
    this.#params = params;
    this.#stopTokenIds = stopTokenIds;
    if (params.allowedTokenIds) {
      const last = params.allowedTokenIds.reduce((most, id) => Math.max(most, id), 0);
      this.#listed = new Uint32Array((last >> 5) + 1);
      for (const id of params.allowedTokenIds) addToken(this.#listed, id);
    }
    this.#endings = new Set(params.minTokens?.endings);
  }

  /** Tokens that must not be drawn next, except the ones that `allowed` already excludes. */
  forbidden(): ReadonlySet<number> {
    const banned = this.#ban?.forbidden() ?? NOTHING;
    if (!this.#isTooShort) return banned;
    return banned.size === 0 ? this.#endings : new Set([...banned, ...this.#endings]);
  }

  /** Keeps words out of the sequence, from its first token on. */
  ban(words: TokenBan): void {
    this.#ban = words;
  }

  /** Restricts the sequence to what a grammar allows, from its first token on. */
  follow(matcher: TokenMatcher): void {
    this.#matcher = matcher;
  }

  /** Sets how much matching the next calls may do. */
  setBudget(budget: WorkBudget): void {
    this.#matcher?.setBudget(budget);
  }

  /**
   * Matches as far as the budget allows. Returns whether a token can be drawn, which is also false at the end of the
   * grammar.
   */
  prepare(): boolean {
    if (!this.#matcher || this.#forced.ids.length > 0) return true;
    if (!this.#findForced()) return false;
    if (this.#forced.ids.length > 0) return true;
    return this.#matcher.prepare('allowed') && !this.isComplete;
  }

  /** The tokens that are certain to follow. */
  get forced(): ForcedTokens {
    return this.#forced;
  }

  /**
   * Other constraints may require spelling the same text with other tokens, which are found one by one, and a minimum length
   * may forbid the end. Returns false if the search has to continue.
   */
  #findForced(): boolean {
    const { allowedTokenIds, minTokens } = this.#params;
    if (!this.#matcher || allowedTokenIds || this.#ban || minTokens) return true;
    if (!this.#matcher.prepare('forced')) return false;
    this.#forced = this.#matcher.forced();
    return true;
  }

  /**
   * The tokens that may be drawn next, apart from forbidden ones: bit `id % 32` of word `id >> 5`. Valid until the next call.
   * Undefined if all may be.
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
    this.#ban?.accept(id);
    this.#follow(id);
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
}

function addToken(set: Uint32Array, id: number): void {
  set[id >> 5]! |= 1 << (id & 31);
}
