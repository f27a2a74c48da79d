// Speculative decoding as pure policy: how many tokens each running sequence guesses ahead. A run verifies the guesses, so a
// wrong one costs time but changes no token. Costs are constants instead of measured times, so that the same tokens always lead
// to the same runs.
import type { Proposer } from './ngram-proposer.ts';

/**
 * The cost of each further token of a run, in runs of one token. Measured: 0.05 to 0.2, depending on the model, the form of the
 * weights and the CPU. The speed hardly depends on the chosen number (docs/decisions/0015-drafts.md).
 */
const TOKEN_COST = 0.15;
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

/** The facts about a running sequence that decide its draft. */
export interface DraftableRow {
  /** Undefined if the sequence does not draft. */
  readonly drafter: Drafter | undefined;
  /** Tokens that end the sequence, which are never guessed. */
  readonly stopTokenIds: readonly number[];
  /** How many tokens the sequence may still generate. */
  readonly remainingTokens: number;
}

/** Returns each row's draft for the next run. A draft is empty if it would not be worth its cost. */
export function planDrafts(rows: readonly DraftableRow[]): (readonly number[])[] {
  if (rows.length > MAX_ROWS) return rows.map(() => []);
  const guesses = rows.map(usableGuesses);
  const lengths = bestLengths(
    rows.map(({ drafter }, i) => {
      return { acceptance: drafter?.acceptance ?? 0, limit: guesses[i]!.length };
    }),
  );
  return guesses.map((draft, i) => draft.slice(0, lengths[i]!));
}

/** A run draws one more token than its draft has. */
function usableGuesses({ drafter, stopTokenIds, remainingTokens }: DraftableRow): number[] {
  const guesses = (drafter?.guess() ?? []).slice(0, remainingTokens - 1);
  const end = guesses.findIndex((id) => stopTokenIds.includes(id));
  return end < 0 ? guesses : guesses.slice(0, end);
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
    const gain = gains.reduce((sum, own) => sum + own, 0) / rows.length;
    if (gain > best.gain && gains.every((own) => own >= 1)) best = { lengths, gain };
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
