// Patterns of the multiples of a number.

import { ContradictionError, GrammarError } from './grammar-error.ts';
import { MAX_DIGITS } from './json-text.ts';
import { type Bounds, decimalDigits, MAX_DECIMALS } from './number-ranges.ts';
import {
  choice,
  graph,
  optional,
  type PatternEdge,
  type PatternNode,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** Each remainder is one state per number of digits. A large divisor leaves room for only a few digits. */
const MAX_STATES = 1200;
const MAX_DIVISOR = 500;
const MIN_DIGITS = 4;
/** Up to this many multiples between two bounds are listed. */
const MAX_LISTED = 1000;

/**
 * Returns the pattern of the multiples of a number. Between two bounds they are listed if they are few, and `isBounded` is true.
 * Otherwise the bounds remain to be checked. Throws `GrammarError` if this takes too many states.
 */
export function multiplesOf(
  step: number,
  { min, max }: Bounds,
  type: 'number' | 'integer',
): { pattern: TextPattern; isBounded: boolean } {
  const [whole, fraction] = decimalDigits(step);
  if (Number(`${whole}.${fraction}`) !== step)
    throw new GrammarError(`must have at most ${MAX_DECIMALS} decimals`);
  const scale = 10 ** fraction.length;
  const divisor = Number(`${whole}${fraction}`);
  const first = min && Math.ceil((min.value * scale) / divisor);
  const last = max && Math.floor((max.value * scale) / divisor);
  if (first !== undefined && last !== undefined && last - first <= MAX_LISTED) {
    const values = Array.from(
      { length: Math.max(0, last - first + 1) },
      (_, i) => ((first + i) * divisor) / scale,
    );
    const allowed = values.filter(
      (value) =>
        (type === 'number' || Number.isInteger(value)) &&
        !(min!.isExclusive && value <= min!.value) &&
        !(max!.isExclusive && value >= max!.value),
    );
    if (allowed.length === 0) throw new ContradictionError('has no value between the bounds');
    return {
      pattern: choice(...allowed.map((value) => text(JSON.stringify(value)))),
      isBounded: true,
    };
  }
  if (divisor > MAX_DIVISOR)
    throw new GrammarError(`must have at most ${MAX_DIVISOR} as its digits, or closer bounds`);
  if (type === 'integer' && fraction !== '')
    throw new GrammarError('of an integer must be a whole number');
  const graph = digits(divisor, fraction.length);
  return { pattern: sequence(optional(text('-')), graph), isBounded: false };
}

/** The digits so far: their remainder, how many more may follow before the point, and how many after it. */
interface Progress {
  readonly remainder: number;
  readonly left: number;
  readonly decimals: number;
  readonly where: 'start' | 'whole' | 'zero' | 'point' | 'fraction';
}

/**
 * Matches decimals whose digits are a multiple of the divisor, with `decimals` digits after the point. Readers round numbers
 * with more than `MAX_DIGITS` digits, which would then no longer be multiples.
 */
function digits(divisor: number, decimals: number): TextPattern {
  const most = Math.min(
    MAX_DIGITS - decimals,
    Math.max(MIN_DIGITS, Math.floor(MAX_STATES / divisor)),
  );
  const indexOf = new Map<string, number>();
  const states: Progress[] = [];
  const enter = (state: Progress): number => {
    const key = Object.values(state).join();
    const index = indexOf.get(key) ?? states.push(state) - 1;
    indexOf.set(key, index);
    return index;
  };
  /** Trailing zeros may be left out. */
  const isMultiple = ({ remainder, decimals: missing }: Progress) =>
    (remainder * 10 ** missing) % divisor === 0;
  const digit = (value: number, to: Progress) => ({ item: text(String(value)), to: enter(to) });
  const edges = (state: Progress): PatternEdge[] => {
    const { remainder, left, where } = state;
    const isFraction = where === 'point' || where === 'fraction';
    const first = where === 'start' ? 1 : 0;
    const more = (isFraction ? state.decimals : left) > 0 && where !== 'zero';
    const following = Array.from({ length: more ? 10 - first : 0 }, (_, i) =>
      digit(first + i, {
        remainder: (remainder * 10 + first + i) % divisor,
        left: isFraction ? 0 : left - 1,
        decimals: isFraction ? state.decimals - 1 : decimals,
        where: isFraction ? 'fraction' : 'whole',
      }),
    );
    if (where === 'start') return [digit(0, { ...state, where: 'zero' }), ...following];
    if (isFraction || decimals === 0) return following;
    const point: Progress = { remainder, left: 0, decimals, where: 'point' };
    return [...following, { item: text('.'), to: enter(point) }];
  };
  enter({ remainder: 0, left: most, decimals, where: 'start' });
  const nodes: PatternNode[] = [];
  for (const state of states) {
    const isEnd = state.where !== 'start' && state.where !== 'point' && isMultiple(state);
    nodes.push({ isEnd, edges: edges(state) });
  }
  return graph(nodes);
}
