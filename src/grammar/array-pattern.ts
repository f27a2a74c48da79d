// The patterns of JSON arrays: items of one kind, and arrays whose items differ by position or by the items before them.

import { GrammarError } from './grammar-error.ts';
import { COMMA, commaSeparated } from './json-text.ts';
import {
  choice,
  EMPTY,
  graph,
  type PatternEdge,
  repeat,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** The bounds on the number of items. */
interface Counts {
  readonly min: number;
  readonly max: number;
}

/** Larger arrays are written without these constraints, or refused. */
const MAX_NODES = 4000;
/** Up to this many values come in any order. */
const MAX_UNORDERED = 8;

/** Matches an array of items. */
export function listPattern(item: TextPattern, { min, max }: Counts): TextPattern {
  return sequence(text('['), commaSeparated(item, min, max), text(']'));
}

/** The items of an array that may follow the ones before. `State` is what matters of those. */
interface ItemRules<State> {
  readonly start: State;
  keyOf(state: State): string;
  canEnd(state: State): boolean;
  next(state: State): readonly { readonly item: TextPattern; readonly to: State }[];
}

/** Matches an array whose first items each have a pattern. */
export function tuplePattern(
  first: readonly TextPattern[],
  item: TextPattern,
  { min, max }: Counts,
): TextPattern {
  let rest: TextPattern = repeat(
    sequence(COMMA, item),
    Math.max(0, min - first.length),
    Math.max(0, max - first.length),
  );
  for (let i = Math.min(first.length, max) - 1; i >= 0; i--) {
    const here = sequence(...(i > 0 ? [COMMA] : []), first[i]!, rest);
    rest = i >= min ? choice(EMPTY, here) : here;
  }
  return sequence(text('['), max === 0 ? EMPTY : rest, text(']'));
}

/** Matches an array of which at least one item is `contained`. */
export function containingPattern(
  item: TextPattern,
  contained: TextPattern,
  { min, max }: Counts,
): TextPattern {
  const last = Number.isFinite(max) ? max : min;
  return arrayPattern<{ count: number; isFound: boolean }>({
    start: { count: 0, isFound: false },
    keyOf: ({ count, isFound }) => `${count} ${isFound}`,
    canEnd: ({ count, isFound }) => isFound && count >= min,
    next({ count, isFound }) {
      if (count >= max) return [];
      const after = Math.min(count + 1, last);
      const found = { item: contained, to: { count: after, isFound: true } };
      return isFound ? [{ item, to: found.to }] : [{ item, to: { count: after, isFound } }, found];
    },
  });
}

/** Matches an array of different values. If there are many, they come in this order. */
export function setPattern(values: readonly TextPattern[], { min, max }: Counts): TextPattern {
  const isOrdered = values.length > MAX_UNORDERED;
  return arrayPattern<{ count: number; used: readonly number[] }>({
    start: { count: 0, used: [] },
    keyOf: ({ count, used }) => (isOrdered ? `${count} ${used.at(-1)}` : used.join()),
    canEnd: ({ count }) => count >= min,
    next({ count, used }) {
      if (count >= max) return [];
      const first = isOrdered ? (used.at(-1) ?? -1) + 1 : 0;
      return values.flatMap((item, i) => {
        if (i < first || used.includes(i)) return [];
        const all = [...used, i].sort((a, b) => a - b);
        return [{ item, to: { count: count + 1, used: all } }];
      });
    },
  });
}

function arrayPattern<State>({ start, keyOf, canEnd, next }: ItemRules<State>): TextPattern {
  const indexOf = new Map<string, number>();
  const states: State[] = [];
  const enter = (state: State, isFirst: boolean): number => {
    const key = `${isFirst} ${keyOf(state)}`;
    const known = indexOf.get(key);
    if (known !== undefined) return known;
    if (states.length >= MAX_NODES)
      throw new GrammarError(`needs more than ${MAX_NODES} states. Lower maxItems`);
    indexOf.set(key, states.length);
    return states.push(state) - 1;
  };
  enter(start, true);
  const nodes: { isEnd: boolean; edges: PatternEdge[] }[] = [];
  for (const [i, state] of states.entries()) {
    const edges = next(state).map(({ item, to }) => ({
      item: i > 0 ? sequence(COMMA, item) : item,
      to: enter(to, false),
    }));
    nodes.push({ isEnd: canEnd(state), edges });
  }
  return sequence(text('['), graph(nodes), text(']'));
}
