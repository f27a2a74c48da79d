// The patterns of JSON numbers: with bounds, as multiples, and without some values.

import { ContradictionError, GrammarError, located } from './grammar-error.ts';
import { ANY_INTEGER, ANY_NUMBER } from './json-text.ts';
import { multiplesOf } from './multiples.ts';
import type { Located, Normalized } from './normalized-schema.ts';
import { type Bounds, integersBetween, numbersBetween } from './number-ranges.ts';
import { TextLanguage } from './text-language.ts';
import { choice, type TextPattern } from './text-pattern.ts';

/** Matches the numbers that satisfy the schema. Throws `ContradictionError` if there are none. */
export function numberPattern(
  type: 'number' | 'integer',
  normal: Normalized,
  path: string,
): TextPattern {
  const bounds = boundsOf(normal);
  const { multiples } = normal;
  const excluded = normal.excluded.filter((value) => typeof value === 'number');
  const step = multiples.length > 0 ? commonStep(multiples) : undefined;
  if (step && !(step.value === 1 && type === 'integer')) {
    if (excluded.length > 0)
      throw new GrammarError('cannot be combined with excluded numbers', step.path);
    return located(step.path, () => multiplesBetween(step.value, bounds, type));
  }
  const intervals = without(bounds, excluded);
  if (intervals.length === 0) throw new ContradictionError('no number is allowed', path);
  return choice(...intervals.map((interval) => between(interval, type)));
}

function between(bounds: Bounds, type: 'number' | 'integer'): TextPattern {
  const isBounded = bounds.min !== undefined || bounds.max !== undefined;
  if (type === 'integer') return isBounded ? integersBetween(bounds) : ANY_INTEGER;
  return isBounded ? numbersBetween(bounds) : ANY_NUMBER;
}

/** Matches the multiples between bounds. If they cannot be listed, they satisfy two patterns at the same time. */
function multiplesBetween(step: number, bounds: Bounds, type: 'number' | 'integer'): TextPattern {
  const multiples = multiplesOf(step, bounds, type);
  if (multiples.isBounded || (!bounds.min && !bounds.max)) return multiples.pattern;
  const rules = [multiples.pattern, between(bounds, type)];
  const language = new TextLanguage(
    rules.map((pattern) => ({ parts: [{ pattern }], use: 'match' })),
  );
  return language.pattern((ranges) => ({ kind: 'chars', ranges }));
}

/** Returns the step whose multiples are multiples of all steps. */
function commonStep(steps: readonly Located<number>[]): Located<number> {
  return steps.reduce((one, other) => {
    if (one.value % other.value === 0) return one;
    if (other.value % one.value === 0) return other;
    if (!Number.isSafeInteger(one.value) || !Number.isSafeInteger(other.value))
      throw new GrammarError(`cannot be combined with multipleOf ${one.value}`, other.path);
    return {
      value: (one.value / greatestDivisor(one.value, other.value)) * other.value,
      path: other.path,
    };
  });
}

function greatestDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestDivisor(other, one % other);
}

/** Splits the numbers between bounds at excluded ones. */
function without(bounds: Bounds, excluded: readonly number[]): Bounds[] {
  const points = [...new Set(excluded)].sort((a, b) => a - b);
  const inside = points.filter((value) => !isOutside(value, bounds));
  const ends = inside.map((value) => ({ value, isExclusive: true }));
  const intervals = [undefined, ...ends].map(
    (end, i): Bounds => ({ min: end ?? bounds.min, max: ends[i] ?? bounds.max }),
  );
  return intervals.filter((interval) => !isEmpty(interval));
}

function isOutside(value: number, { min, max }: Bounds): boolean {
  return (min !== undefined && value < min.value) || (max !== undefined && value > max.value);
}

function isEmpty({ min, max }: Bounds): boolean {
  if (!min || !max) return false;
  return min.value > max.value || (min.value === max.value && (min.isExclusive || max.isExclusive));
}

/** Returns the bounds of a number. If one side has an inclusive and an exclusive bound, the stricter one counts. */
function boundsOf({ limits }: Normalized): Bounds {
  const pick = (
    inclusive: Located<number> | undefined,
    exclusive: Located<number> | undefined,
    sign: number,
  ) => {
    const isExclusive =
      exclusive !== undefined && (!inclusive || sign * exclusive.value >= sign * inclusive.value);
    const stricter = isExclusive ? exclusive : inclusive;
    return stricter && { value: stricter.value, isExclusive };
  };
  const min = pick(limits.minimum, limits.exclusiveMinimum, 1);
  const max = pick(limits.maximum, limits.exclusiveMaximum, -1);
  if (isEmpty({ min, max })) {
    const low = limits.minimum ?? limits.exclusiveMinimum;
    throw new ContradictionError('is above the maximum, so no number is allowed', low!.path);
  }
  return { min, max };
}
