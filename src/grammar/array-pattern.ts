// The patterns of JSON arrays: items of one kind, and arrays whose items differ by position or by the items before them.
import { COMMA, commaSeparated } from './json-text.ts';
import { stateGraph } from './state-graph.ts';
import { choice, EMPTY, repeat, sequence, type TextPattern, text } from './text-pattern.ts';

/** The bounds on the number of items. */
interface Counts {
  readonly min: number;
  readonly max: number;
}

/** Up to this many values come in any order. */
const MAX_UNORDERED = 8;

/** Matches an array whose first items each have a pattern. */
export function arrayPattern(
  first: readonly TextPattern[],
  item: TextPattern,
  { min, max }: Counts,
): TextPattern {
  if (first.length === 0) return sequence(text('['), commaSeparated(item, min, max), text(']'));
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
  const lastCount = Number.isFinite(max) ? max : Math.max(1, min);
  const items = stateGraph<{ readonly count: number; readonly isFound: boolean }>(
    { count: 0, isFound: false },
    {
      canEnd: ({ count, isFound }) => isFound && count >= min,
      next({ count, isFound }) {
        if (count >= max) return [];
        const after = (pattern: TextPattern, isFoundNow: boolean) => ({
          item: count > 0 ? sequence(COMMA, pattern) : pattern,
          to: { count: Math.min(count + 1, lastCount), isFound: isFoundNow },
        });
        return isFound ? [after(item, true)] : [after(item, false), after(contained, true)];
      },
    },
  );
  return sequence(text('['), items, text(']'));
}

/** Matches an array of different values. If there are many, they come in this order. */
export function setPattern(values: readonly TextPattern[], { min, max }: Counts): TextPattern {
  const isOrdered = values.length > MAX_UNORDERED;
  const items = stateGraph<{ readonly count: number; readonly used: readonly number[] }>(
    { count: 0, used: [] },
    {
      canEnd: ({ count }) => count >= min,
      next: ({ count, used }) =>
        values.flatMap((value, i) => {
          if (count >= max || used.includes(i) || (isOrdered && i < (used[0] ?? 0))) return [];
          const item = count > 0 ? sequence(COMMA, value) : value;
          const all = isOrdered ? [i] : [...used, i].sort((a, b) => a - b);
          return [{ item, to: { count: count + 1, used: all } }];
        }),
    },
  );
  return sequence(text('['), items, text(']'));
}
