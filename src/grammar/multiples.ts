// Patterns of the multiples of a number.

import { MAX_DIGITS } from './json-text.ts';
import { type Bounds, decimalDigits, MAX_DECIMALS } from './number-ranges.ts';
import {
  choice,
  EMPTY,
  GrammarError,
  optional,
  recursive,
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
 * Matches the multiples of a number. Between two bounds they are listed if they are few. Throws `GrammarError` if this takes
 * too many states.
 */
export function multiplesOf(
  step: number,
  { min, max }: Bounds,
  type: 'number' | 'integer',
): TextPattern {
  const [whole, fraction] = decimalDigits(step);
  if (Number(`${whole}.${fraction}`) !== step)
    throw new GrammarError(`must have at most ${MAX_DECIMALS} decimals`);
  const scale = 10 ** fraction.length;
  const divisor = Number(`${whole}${fraction}`);
  if (min || max) {
    if (!min || !max)
      throw new GrammarError('is not supported with a single bound. Give a minimum and a maximum');
    const first = Math.ceil((min.value * scale) / divisor);
    const last = Math.floor((max.value * scale) / divisor);
    if (last - first > MAX_LISTED)
      throw new GrammarError(`has more than ${MAX_LISTED} values between the bounds`);
    const values = Array.from(
      { length: Math.max(0, last - first + 1) },
      (_, i) => ((first + i) * divisor) / scale,
    );
    const allowed = values.filter(
      (value) =>
        (type === 'number' || Number.isInteger(value)) &&
        !(min.isExclusive && value <= min.value) &&
        !(max.isExclusive && value >= max.value),
    );
    if (allowed.length === 0) throw new GrammarError('has no value between the bounds');
    return choice(...allowed.map((value) => text(JSON.stringify(value))));
  }
  if (divisor > MAX_DIVISOR)
    throw new GrammarError(`must have at most ${MAX_DIVISOR} as its digits, or bounds`);
  if (type === 'integer' && fraction !== '')
    throw new GrammarError('of an integer must be a whole number');
  return sequence(optional(text('-')), digits(divisor, fraction.length));
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
  const tail = fractionTails(divisor, decimals);
  const rules = new Map<string, TextPattern>();
  /** Returns the pattern after digits with this remainder, with at most `left` more before the point. */
  const after = (remainder: number, left: number): TextPattern => {
    return ruleOf(rules, `${remainder} ${left}`, () =>
      choice(tail(remainder), ...(left > 0 ? more(remainder, left, 0) : [])),
    );
  };
  const more = (remainder: number, left: number, first: number): TextPattern[] =>
    Array.from({ length: 10 - first }, (_, i) =>
      sequence(text(String(first + i)), after((remainder * 10 + first + i) % divisor, left - 1)),
    );
  return choice(sequence(text('0'), tail(0)), ...more(0, most, 1));
}

/** Returns the patterns that may follow the digits before the point, by their remainder. Trailing zeros may be left out. */
function fractionTails(divisor: number, decimals: number): (remainder: number) => TextPattern {
  const rules = new Map<string, TextPattern>();
  const isMultiple = (remainder: number, left: number) => (remainder * 10 ** left) % divisor === 0;
  const more = (remainder: number, left: number): TextPattern =>
    choice(
      ...Array.from({ length: 10 }, (_, digit) =>
        sequence(text(String(digit)), tail((remainder * 10 + digit) % divisor, left - 1)),
      ),
    );
  const tail = (remainder: number, left: number): TextPattern => {
    const end = isMultiple(remainder, left) ? EMPTY : choice();
    if (left === 0) return end;
    return ruleOf(rules, `${remainder} ${left}`, () => choice(end, more(remainder, left)));
  };
  return (remainder) => {
    const end = isMultiple(remainder, decimals) ? EMPTY : choice();
    return decimals === 0 ? end : choice(end, sequence(text('.'), more(remainder, decimals)));
  };
}

/** Returns the rule of a key. It is registered before its body is built, because the body may refer to it. */
function ruleOf(
  rules: Map<string, TextPattern>,
  key: string,
  body: () => TextPattern,
): TextPattern {
  const define = (self: TextPattern) => {
    rules.set(key, self);
    return body();
  };
  return rules.get(key) ?? recursive(define);
}
