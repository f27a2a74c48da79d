// Text that a grammar forces, as pure policy: which of the tokens that are known in advance run together. The tokens are the
// same in any case; the choice is only about time. Knows no grammar and no engine.

/** The cost of each further token of a run of one sequence, in runs of one token (see `drafter.ts`). */
const TOKEN_COST = 0.15;
/** The cost of each further row of a run of many sequences. Measured: 0.18 to 0.2. */
const ROW_COST = 0.2;
/** Bounds the time of a run, which other rows wait for. */
const MAX_FORCED = 64;

/** A sequence, as far as its forced tokens need it. */
export interface ForcedRow {
  /** The tokens that are known. */
  readonly upcoming: readonly number[];
  readonly stopTokenIds: readonly number[];
  /** The tokens that the sequence may still generate. */
  readonly remainingTokens: number;
}

/** The known tokens that can run together: none that ends the sequence, and one less than it may still generate. */
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
 * The forced tokens that each row runs before the next run of all rows. A row with k of them needs a run of k tokens, in
 * which the others wait, and saves its part of k runs. A single row runs them together with the next token.
 */
export function planForced(rows: readonly ForcedRow[]): (readonly number[])[] {
  const shareOfRun = (1 + ROW_COST * (rows.length - 1)) / rows.length;
  return rows.map((row) => {
    const forced = usableForced(row);
    const cost = TOKEN_COST * forced.length + (rows.length > 1 ? 1 - TOKEN_COST : 0);
    return forced.length * shareOfRun > cost ? forced : [];
  });
}
