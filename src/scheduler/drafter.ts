// Which tokens each running sequence runs ahead, as pure policy: tokens that its constraint forces, and guesses (speculative
// decoding). A run verifies the guesses, so a wrong one costs time but changes no token. Costs are constants instead of measured
// times, so that the same tokens always lead to the same runs.
import type { DecodeRow } from '../engine/batch.ts';

/**
 * The cost of each further token of a run, in runs of one token. Measured: 0.05 to 0.2, depending on the model, the form of the
 * weights and the CPU. The speed hardly depends on the chosen number (docs/decisions/0015-drafts.md).
 */
const TOKEN_COST = 0.15;
/** The cost of each further row of a run of many sequences. Measured: 0.18 to 0.2. */
const ROW_COST = 0.2;
/** Bounds the length of a run, because other rows wait for it. */
const MAX_FORCED = 64;
const MAX_DRAFT = 15;
/** With more rows than this, a run has little idle arithmetic left, and several sequences can't share a run with drafts. */
const MAX_ROWS = 2;
/** The acceptance rate that a new sequence starts with, and the weight of each further guess. */
const ACCEPTANCE = { initial: 0.8, weight: 0.15 };

/** Guesses the tokens of one sequence, and learns how often it is right, including from guesses that no run verified. */
export class Drafter {
  readonly #proposer: Proposer;
  /** Guesses whose tokens have not been generated yet. */
  #guesses: readonly number[] = [];
  #acceptance = ACCEPTANCE.initial;

  constructor(proposer: Proposer) {
    this.#proposer = proposer;
  }

  /** The estimated probability that a guess is right if all guesses before it are, 0 to 1. */
  get acceptance(): number {
    return this.#acceptance;
  }

  /** Adds the next token of the sequence. */
  append(tokenId: number): void {
    const [guess, ...later] = this.#guesses;
    if (guess !== undefined) {
      const isRight = guess === tokenId;
      this.#acceptance += ACCEPTANCE.weight * (Number(isRight) - this.#acceptance);
      this.#guesses = isRight ? later : [];
    }
    this.#proposer.append(tokenId);
  }

  /** Guesses the next tokens, as many as can be worth their cost. */
  guess(): readonly number[] {
    this.#guesses = this.#proposer.propose(MAX_DRAFT);
    return this.#guesses;
  }
}

/** The facts about a running sequence that decide which tokens it runs ahead. */
export interface AheadRow {
  /** Undefined if the sequence does not draft. */
  readonly drafter: Drafter | undefined;
  /** The next tokens that its constraint forces. */
  readonly upcoming: readonly number[];
  /** Tokens that end the sequence, which never run ahead. */
  readonly stopTokenIds: readonly number[];
  /** How many tokens the sequence may still generate. */
  readonly remainingTokens: number;
}

type Limits = Pick<AheadRow, 'stopTokenIds' | 'remainingTokens'>;
type ForcedRow = Limits & Pick<AheadRow, 'upcoming'>;
/** The facts that decide a draft. */
export type DraftableRow = Limits & Pick<AheadRow, 'drafter'>;

/** Returns the tokens that each row runs ahead. A row with forced tokens gets no draft. */
export function planAhead(
  rows: readonly AheadRow[],
): Required<Pick<DecodeRow, 'draftIds' | 'forcedIds'>>[] {
  const forced = planForced(rows);
  const drafts = planDrafts(
    rows.map((row, i) => (forced[i]!.length > 0 ? { ...row, drafter: undefined } : row)),
  );
  return rows.map((_, i) => ({ draftIds: drafts[i]!, forcedIds: forced[i]! }));
}

/** The tokens before one that ends the sequence, and one fewer than it may still generate: the run also draws one. */
function usable(tokens: readonly number[], { stopTokenIds, remainingTokens }: Limits): number[] {
  const fitting = tokens.slice(0, Math.max(0, remainingTokens - 1));
  const end = fitting.findIndex((id) => stopTokenIds.includes(id));
  return end < 0 ? fitting : fitting.slice(0, end);
}

/** Returns each row's draft for the next run. A draft is empty if it would not be worth its cost. */
export function planDrafts(rows: readonly DraftableRow[]): (readonly number[])[] {
  if (rows.length > MAX_ROWS) return rows.map(() => []);
  const guesses = rows.map(({ drafter, ...limits }) => usable(drafter?.guess() ?? [], limits));
  const lengths = bestLengths(
    rows.map(({ drafter }, i) => {
      return { acceptance: drafter?.acceptance ?? 0, limit: guesses[i]!.length };
    }),
  );
  return guesses.map((draft, i) => draft.slice(0, lengths[i]!));
}

/**
 * Returns the lengths with the most expected tokens per cost. Rows with drafts run one after the other, and another row's draft
 * must not make a row slower than it would be without drafts.
 */
function bestLengths(rows: readonly { acceptance: number; limit: number }[]): number[] {
  const plainCost = runCost(rows.length);
  let best = { lengths: rows.map(() => 0), gain: 1 };
  for (const lengths of combinations(rows.map(({ limit }) => limit))) {
    if (lengths.every((length) => length === 0)) continue;
    const cost = lengths.reduce((sum, length) => sum + runCost(1 + length), 0);
    const gains = rows.map(({ acceptance }, i) => {
      return (expectedTokens(acceptance, lengths[i]!) * plainCost) / cost;
    });
    const gain = gains.reduce((sum, one) => sum + one, 0) / rows.length;
    if (gain > best.gain && gains.every((one) => one >= 1)) best = { lengths, gain };
  }
  return best.lengths;
}

/** The cost of a run, in runs of one token. */
function runCost(tokens: number): number {
  return 1 + TOKEN_COST * (tokens - 1);
}

/** The mean number of tokens that a run with a draft of this length draws: 1 + a + a² + … */
function expectedTokens(acceptance: number, length: number): number {
  let sum = 1;
  for (let i = 1; i <= length; i++) sum += acceptance ** i;
  return sum;
}

/** Every list of integers from 0 to the limit at each position. */
function combinations(limits: readonly number[]): number[][] {
  return limits.reduce<number[][]>(
    (all, limit) =>
      all.flatMap((head) => Array.from({ length: limit + 1 }, (_, length) => [...head, length])),
    [[]],
  );
}

/** Returns the forced tokens that can run together. */
export function usableForced({ upcoming, ...limits }: ForcedRow): number[] {
  return usable(upcoming.slice(0, MAX_FORCED), limits);
}

/**
 * Returns the forced tokens that each row runs before the next run of all rows. A row with k of them needs a run of k tokens,
 * during which the others wait, and saves its part of k runs. A single row runs them together with the next token.
 */
export function planForced(rows: readonly ForcedRow[]): (readonly number[])[] {
  const shareOfRun = (1 + ROW_COST * (rows.length - 1)) / rows.length;
  return rows.map((row) => {
    const forced = usableForced(row);
    const cost = TOKEN_COST * forced.length + (rows.length > 1 ? 1 - TOKEN_COST : 0);
    return forced.length * shareOfRun > cost ? forced : [];
  });
}

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

/**
 * Drafts by prompt lookup: finds an earlier occurrence of a sequence's last tokens, and proposes the continuation of the longest
 * match. Among equally long matches the latest wins.
 */
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
