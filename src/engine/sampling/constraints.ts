// The tokens that a sequence must not draw next: those that complete a bad word, end it before its minimum length, or
// are not among its allowed tokens. Knows no probabilities.
import type { SamplingParams } from '../../contracts/generation.ts';
import type { LogitsRow } from '../logits.ts';

type Constrained = Pick<SamplingParams, 'allowedTokenIds' | 'badWords' | 'minTokens'>;

const NOTHING: ReadonlySet<number> = new Set();

/** Working memory, [V]. All sequences share it, because drawing is synchronous. */
let masked = new Float32Array(0);

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
  #generated = 0;

  constructor(params: Constrained) {
    const { badWords = [], minTokens } = params;
    this.#params = params;
    this.#endings = new Set(minTokens?.endings);
    this.#never = new Set(badWords.flatMap((word) => (word.length === 1 ? word : [])));
    this.#longWords = badWords.filter((word) => word.length > 1);
    this.#recentCount = Math.max(0, ...this.#longWords.map((word) => word.length - 1));
  }

  /** Tokens that must not be drawn next. Does not include those outside `allowedTokenIds`, which `mask` removes. */
  forbidden(): ReadonlySet<number> {
    const isTooShort = this.#generated < (this.#params.minTokens?.count ?? 0);
    const completing = this.#longWords.flatMap((word) => (this.#isBegun(word) ? word.at(-1)! : []));
    if (!isTooShort && completing.length === 0) return this.#never;
    return new Set([...this.#never, ...completing, ...(isTooShort ? this.#endings : NOTHING)]);
  }

  /**
   * The row with -Infinity for tokens that are not allowed, valid until the next call. Returns the row itself if all
   * are allowed. The result has no `top`, because the largest logits of the row may not be allowed.
   */
  mask(row: LogitsRow): LogitsRow {
    const { allowedTokenIds } = this.#params;
    if (!allowedTokenIds) return row;
    if (masked.length !== row.logits.length) masked = new Float32Array(row.logits.length);
    masked.fill(Number.NEGATIVE_INFINITY);
    for (const id of allowedTokenIds) masked[id] = row.logits[id]!;
    return { logits: masked };
  }

  /** Counts a generated token. */
  record(id: number): void {
    this.#generated++;
    if (this.#recentCount === 0) return;
    this.#recent.push(id);
    if (this.#recent.length > this.#recentCount) this.#recent.shift();
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
