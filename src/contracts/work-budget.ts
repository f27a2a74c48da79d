// A budget for matching completions with their constraints, which sequences share and tenants pay for.

/** The work that some sequences may still do, in visited positions of the automaton. Below 0: they did more. */
export interface WorkBudget {
  left: number;
}

/** No limit. */
export const UNLIMITED: WorkBudget = { left: Number.POSITIVE_INFINITY };
