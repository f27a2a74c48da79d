// The work of matching answers with their constraints, as it is granted to sequences and charged to tenants.

/** The work that some sequences may still do together, in visited places. Below 0: they did more than they were granted. */
export interface MatchingWork {
  left: number;
}

/** No limit. */
export const UNLIMITED: MatchingWork = { left: Number.POSITIVE_INFINITY };
