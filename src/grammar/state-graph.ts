// Patterns of texts that are written step by step: a state is what the next steps depend on.
import { charge } from './budget.ts';
import { GrammarError } from './grammar-error.ts';
import { graph, type PatternNode, type TextPattern } from './text-pattern.ts';

/** A larger pattern would leave no room for the rest of a schema. */
const MAX_STATES = 10_000;
/** The memory of a state. */
const STATE_BYTES = 256;

/** The steps that may follow each state. */
interface StateRules<State> {
  canEnd(state: State): boolean;
  next(state: State): readonly { readonly item: TextPattern; readonly to: State }[];
}

/** Returns the pattern of all paths from a state to one that can end. Throws `GrammarError` if there are too many states. */
export function stateGraph<State extends object>(
  start: State,
  { canEnd, next }: StateRules<State>,
): TextPattern {
  const indexOf = new Map<string, number>();
  const states: State[] = [];
  const enter = (state: State): number => {
    const key = Object.values(state).join();
    const known = indexOf.get(key);
    if (known !== undefined) return known;
    if (states.length >= MAX_STATES)
      throw new GrammarError(`needs more than ${MAX_STATES} states. Lower the counts`);
    charge('pattern', STATE_BYTES + key.length);
    indexOf.set(key, states.length);
    return states.push(state) - 1;
  };
  enter(start);
  const nodes: PatternNode[] = [];
  for (const state of states) {
    const edges = next(state).map(({ item, to }) => ({ item, to: enter(to) }));
    nodes.push({ isEnd: canEnd(state), edges });
  }
  return graph(nodes);
}
