// The work of matching completions with their constraints, which is granted to sequences and charged to tenants.

/** The work that some sequences may still share, in visited positions of the automaton. Below 0: they exceeded their grant. */
export interface MatchingWork {
  left: number;
}

/** No limit. */
export const UNLIMITED: MatchingWork = { left: Number.POSITIVE_INFINITY };
