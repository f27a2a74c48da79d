// Text that a grammar forces, as pure policy: which of the tokens that are known in advance run together. The choice affects
// only the time, never the tokens.

/** The cost of each further token of a run of one sequence, in runs of one token (see `drafter.ts`). */
const TOKEN_COST = 0.15;
/** The cost of each further row of a run of many sequences. Measured: 0.18 to 0.2. */
const ROW_COST = 0.2;
/** Bounds the length of a run, because other rows wait for it. */
const MAX_FORCED = 64;

/** The facts about a sequence that decide its forced tokens. */
export interface ForcedRow {
  /** The tokens that are known. */
  readonly upcoming: readonly number[];
  readonly stopTokenIds: readonly number[];
  /** How many tokens the sequence may still generate. */
  readonly remainingTokens: number;
}

/** The known tokens that can run together: none that ends the sequence, and one fewer than it may still generate. */
export function usableForced({
  upcoming,
  stopTokenIds,
  remainingTokens,
}: ForcedRow): readonly number[] {
  const usable = upcoming.slice(0, Math.min(MAX_FORCED, Math.max(0, remainingTokens - 1)));
  const end = usable.findIndex((id) => stopTokenIds.includes(id));
  return end < 0 ? usable : usable.slice(0, end);
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
