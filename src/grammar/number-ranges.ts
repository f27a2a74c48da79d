// Patterns of decimal numbers between bounds.

import { DIGIT, MAX_DIGITS } from './json-text.ts';
import {
  chars,
  choice,
  EMPTY,
  optional,
  repeat,
  sequence,
  type TextPattern,
  text,
} from './text-pattern.ts';

/** A bound of a number. */
interface Bound {
  readonly value: number;
  readonly isExclusive: boolean;
}

/** The bounds of a number. */
export interface Bounds {
  readonly min: Bound | undefined;
  readonly max: Bound | undefined;
}

/** Matches the integers between the bounds. If a bound is missing, integers have up to `MAX_DIGITS` digits. */
export function integersBetween({ min, max }: Bounds): TextPattern {
  const low = min && BigInt(min.isExclusive ? Math.floor(min.value) + 1 : Math.ceil(min.value));
  const high = max && BigInt(max.isExclusive ? Math.ceil(max.value) - 1 : Math.floor(max.value));
  const first = low ?? minBigInt(-LARGEST, (high ?? 0n) * 10n);
  const last = high ?? maxBigInt(LARGEST, (low ?? 0n) * 10n);
  const options: TextPattern[] = [];
  if (first < 0n) {
    const magnitudes = naturalsBetween(last < 0n ? -last : 1n, -first);
    options.push(sequence(text('-'), magnitudes));
  }
  if (last >= 0n) options.push(naturalsBetween(maxBigInt(first, 0n), last));
  return choice(...options);
}

const LARGEST = 10n ** BigInt(MAX_DIGITS) - 1n;

function minBigInt(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}

function maxBigInt(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

/** Matches the natural numbers from `low` to `high`. */
function naturalsBetween(low: bigint, high: bigint): TextPattern {
  const options: TextPattern[] = [];
  for (let first = low; first <= high; ) {
    const digits = String(first).length;
    const last = minBigInt(high, 10n ** BigInt(digits) - 1n);
    options.push(digitsBetween(String(first), String(last)));
    first = last + 1n;
  }
  return choice(...options);
}

/** Matches the digit strings between two of the same length. */
function digitsBetween(low: string, high: string): TextPattern {
  const length = low.length;
  if (length === 0) return EMPTY;
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(DIGIT, length, length);
  const [first, last] = [Number(low[0]), Number(high[0])];
  const rest = length - 1;
  const [zeros, nines] = ['0'.repeat(rest), '9'.repeat(rest)];
  if (first === last) {
    return sequence(text(low[0]!), digitsBetween(low.slice(1), high.slice(1)));
  }
  const options: TextPattern[] = [
    sequence(text(low[0]!), digitsBetween(low.slice(1), nines)),
    sequence(text(high[0]!), digitsBetween(zeros, high.slice(1))),
  ];
  if (last - first > 1) {
    options.push(sequence(digit(first + 1, last - 1), repeat(DIGIT, rest, rest)));
  }
  return choice(...options);
}

/** Matches the numbers between the bounds, as decimals with up to `MAX_DIGITS` digits after the point. */
export function numbersBetween({ min, max }: Bounds): TextPattern {
  const options: TextPattern[] = [];
  const isNegative = (bound: Bound | undefined) => bound !== undefined && bound.value < 0;
  if (!min || min.value < 0) {
    const low = isNegative(max) ? negate(max!) : { value: 0, isExclusive: true };
    options.push(sequence(text('-'), decimalsBetween(low, min && negate(min))));
  }
  if (!isNegative(max)) {
    const low = min && min.value >= 0 ? min : { value: 0, isExclusive: false };
    options.push(decimalsBetween(low, max));
  }
  return choice(...options);
}

function negate({ value, isExclusive }: Bound): Bound {
  return { value: -value, isExclusive };
}

/** Matches decimals without a sign. Both bounds are at least 0. */
function decimalsBetween(low: Bound, high: Bound | undefined): TextPattern {
  const from = toDecimal(low);
  const to = high && toDecimal(high);
  const withWhole = ({ whole }: Decimal, fraction: TextPattern) =>
    sequence(text(String(whole)), fraction);
  if (to && from.whole > to.whole) return NONE;
  if (to && from.whole === to.whole) return withWhole(from, fractionBetween(from, to));
  const last = to ? to.whole - 1n : maxBigInt(LARGEST, from.whole * 10n);
  return choice(
    withWhole(from, fractionBetween(from, undefined)),
    sequence(naturalsBetween(from.whole + 1n, last), ANY_FRACTION),
    ...(to ? [withWhole(to, fractionBetween(ZERO, to))] : []),
  );
}

/** Returns the digits of a number before and after the point, without trailing zeros. */
export function decimalDigits(value: number): [whole: string, fraction: string] {
  const [whole = '0', fraction = ''] = value
    .toLocaleString('en', { useGrouping: false, maximumFractionDigits: MAX_DECIMALS })
    .split('.');
  return [whole, fraction];
}

/** Powers of ten are exact up to 22. */
export const MAX_DECIMALS = 20;

/** A bound, with its digits after the point. */
interface Decimal {
  readonly whole: bigint;
  readonly digits: string;
  readonly isExclusive: boolean;
}

function toDecimal({ value, isExclusive }: Bound): Decimal {
  const [whole, digits] = decimalDigits(value);
  return { whole: BigInt(whole), digits, isExclusive };
}

const ZERO = toDecimal({ value: 0, isExclusive: false });
const ANY_FRACTION = optional(sequence(text('.'), repeat(DIGIT, 1, MAX_DIGITS)));
const ANY_DIGITS = repeat(DIGIT, 0, MAX_DIGITS);
const NONE = choice();

type FractionBound = Pick<Decimal, 'digits' | 'isExclusive'>;

/** Matches the point and the digits after it, or nothing. */
function fractionBetween(low: FractionBound, high: FractionBound | undefined): TextPattern {
  const isZeroAllowed =
    low.digits === '' && !low.isExclusive && !(high && high.digits === '' && high.isExclusive);
  const digits = sequence(text('.'), fractionDigits(low, high, true));
  return isZeroAllowed ? choice(EMPTY, digits) : digits;
}

/**
 * Matches digits after the point. A bound is undefined once the digits so far have passed it. `isFirst`: at least one digit
 * must follow.
 */
function fractionDigits(
  low: FractionBound | undefined,
  high: FractionBound | undefined,
  isFirst: boolean,
): TextPattern {
  const least = isFirst ? 1 : 0;
  if (!low && !high) return isFirst ? repeat(DIGIT, 1, MAX_DIGITS) : ANY_DIGITS;
  // With no digits left, the bound equals what was written, and only zeros keep it equal.
  if (high && high.digits === '') {
    const isBelow = low !== undefined && (low.digits !== '' || low.isExclusive);
    return high.isExclusive || isBelow ? NONE : repeat(text('0'), least, MAX_DIGITS);
  }
  if (!high && low!.digits === '' && low!.isExclusive) {
    return sequence(repeat(text('0'), 0, MAX_DIGITS - 1), chars('19'), ANY_DIGITS);
  }
  if (!high && low!.digits === '') return isFirst ? repeat(DIGIT, 1, MAX_DIGITS) : ANY_DIGITS;
  const lowDigit = low ? Number(low.digits[0] ?? 0) : -1;
  const highDigit = high ? Number(high.digits[0]!) : 10;
  const options: TextPattern[] = [];
  const canEnd = !isFirst && !(low && (low.digits !== '' || low.isExclusive));
  if (canEnd) options.push(EMPTY);
  const lowRest = low && { ...low, digits: low.digits.slice(1) };
  const highRest = high && { ...high, digits: high.digits.slice(1) };
  for (let next = Math.max(0, lowDigit); next <= Math.min(9, highDigit); next++) {
    if (next > lowDigit && next < highDigit) continue;
    const rest = fractionDigits(
      next === lowDigit ? lowRest : undefined,
      next === highDigit ? highRest : undefined,
      false,
    );
    options.push(sequence(text(String(next)), rest));
  }
  if (highDigit - lowDigit > 1) {
    const between = digit(Math.max(0, lowDigit + 1), Math.min(9, highDigit - 1));
    options.push(sequence(between, ANY_DIGITS));
  }
  return choice(...options);
}

function digit(first: number, last: number): TextPattern {
  return chars(`${first}${last}`);
}
