// The patterns of JSON numbers: with bounds, as multiples, and without some values.
import { largest, smallest } from '../common/long-arrays.ts';
import { ContradictionError, GrammarError, located } from './grammar-error.ts';
import { ANY_INTEGER, ANY_NUMBER, MAX_DIGITS } from './json-text.ts';
import type { Located, Normalized } from './normalized-schema.ts';
import { LIMITS, type OrderTest } from './schema-keywords.ts';
import { stateGraph } from './state-graph.ts';
import { chars, choice, sequence, type TextPattern, text } from './text-pattern.ts';

/** Each remainder is one state per number of digits. A large divisor leaves room for only a few digits. */
const MAX_REMAINDERS = 1200;
const MAX_DIVISOR = 500;
const MIN_DIGITS = 4;
/** Powers of ten are exact up to 22. */
const MAX_DECIMALS = 20;

const BOUNDS = ['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'] as const;

/** A value that numbers are compared with, a bound or an excluded value, and the orders that they may have. */
interface Comparison extends Digits {
  readonly sign: number;
  readonly isAllowed: OrderTest;
}

/** Matches the numbers that satisfy the schema. Throws `ContradictionError` if there are none. */
export function numberPattern(
  type: 'number' | 'integer',
  { limits, multiples, excluded }: Normalized,
  path: string,
): TextPattern {
  const bounds = BOUNDS.flatMap((name) => {
    const limit = limits[name];
    return limit ? [comparison(limit, LIMITS[name].isAllowed)] : [];
  });
  const others = excluded
    .filter((value) => typeof value === 'number')
    .map((value) => comparison({ value, path }, (order) => order !== 0));
  const comparisons = [...bounds, ...others];
  const steps = multiples.filter(({ value }) => !(value === 1 && type === 'integer'));
  if (comparisons.length + steps.length === 0) return type === 'integer' ? ANY_INTEGER : ANY_NUMBER;
  return located(steps[0]?.path ?? path, () => {
    const multiple = commonMultiple(steps);
    const options = [-1, 1].flatMap((sign) => signed(sign, comparisons, type, multiple));
    if (options.length === 0) throw new ContradictionError('no number is allowed');
    return choice(...options);
  });
}

/** A step: its digits without the point, and how many of them come after the point. */
interface Multiple {
  readonly divisor: number;
  readonly decimals: number;
}

/** Returns the step whose multiples are multiples of all steps. */
function commonMultiple(steps: readonly Located<number>[]): Multiple | undefined {
  const all = steps.map(({ value }) => digitsOf(value));
  const decimals = largest([0, ...all.map(({ fraction }) => fraction.length)]);
  const divisors = all.map(({ whole, fraction }) => Number(whole + fraction.padEnd(decimals, '0')));
  if (divisors.length === 0) return undefined;
  const divisor = divisors.reduce((one, other) => (one / greatestDivisor(one, other)) * other);
  if (divisor > MAX_DIVISOR)
    throw new GrammarError(`must have at most ${MAX_DIVISOR} as its digits`);
  return { divisor, decimals };
}

function greatestDivisor(one: number, other: number): number {
  return other === 0 ? one : greatestDivisor(other, one % other);
}

/** The digits of a number before and after the point, without trailing zeros. */
interface Digits {
  readonly whole: string;
  readonly fraction: string;
}

function digitsOf(value: number): Digits {
  const [whole = '0', fraction = ''] = value
    .toLocaleString('en', { useGrouping: false, maximumFractionDigits: MAX_DECIMALS })
    .split('.');
  if (Number(`${whole}.${fraction}`) !== value)
    throw new GrammarError(`must have at most ${MAX_DECIMALS} decimals`);
  return { whole, fraction };
}

function comparison({ value, path }: Located<number>, isAllowed: OrderTest): Comparison {
  const digits = located(path, () => digitsOf(Math.abs(value)));
  return { ...digits, sign: value < 0 ? -1 : 1, isAllowed };
}

/** Returns the pattern of the numbers of a sign, if there can be any. 0 is positive. */
function signed(
  sign: number,
  comparisons: readonly Comparison[],
  type: 'number' | 'integer',
  multiple: Multiple | undefined,
): TextPattern[] {
  if (comparisons.some((one) => one.sign !== sign && !one.isAllowed(sign))) return [];
  const magnitudes = comparisons
    .filter((one) => one.sign === sign)
    .map((one) => ({ ...one, isAllowed: (order: number) => one.isAllowed(sign * order) }));
  if (sign > 0) return [decimals(magnitudes, type, multiple)];
  const zero = comparison({ value: 0, path: '' }, LIMITS.exclusiveMinimum.isAllowed);
  return [sequence(text('-'), decimals([...magnitudes, zero], type, multiple))];
}

/** The digits so far. */
interface Progress {
  readonly isFraction: boolean;
  /** The number of digits before the point, or after it. */
  readonly length: number;
  /** Whether the whole part is a zero, which no digit may follow. */
  readonly isZero: boolean;
  /** Their order relative to as many digits of each value. */
  readonly orders: readonly number[];
  /** The remainder of all digits, divided by the step. */
  readonly remainder: number;
}

/**
 * Matches decimals without a sign. Readers round numbers with more than `MAX_DIGITS` digits, which would then no longer be
 * multiples.
 */
function decimals(
  values: readonly Comparison[],
  type: 'number' | 'integer',
  multiple: Multiple | undefined,
): TextPattern {
  const { divisor, decimals: missing } = multiple ?? { divisor: 1, decimals: 0 };
  const most = Math.max(MIN_DIGITS, Math.floor(MAX_REMAINDERS / divisor));
  const maxFraction = type === 'integer' ? 0 : multiple ? missing : MAX_DIGITS;
  const maxWhole = smallest([
    largest([MAX_DIGITS, ...values.map(({ whole }) => whole.length + 1)]),
    ...values.filter(({ isAllowed }) => !isAllowed(1)).map(({ whole }) => whole.length),
    ...(multiple ? [Math.min(MAX_DIGITS - maxFraction, most)] : []),
  ]);
  /** A whole part with fewer digits than that of a value is less. */
  const pointOrders = ({ isFraction, length, orders }: Progress) =>
    orders.map((order, i) => (!isFraction && length < values[i]!.whole.length ? -1 : order));
  const after = (state: Progress, digit: number): Progress => {
    const { isFraction, length, remainder } = state;
    const orders = values.map(({ whole, fraction }, i) => {
      if (!isFraction && length >= whole.length) return 1;
      return (
        state.orders[i]! || Math.sign(digit - Number((isFraction ? fraction : whole)[length] ?? 0))
      );
    });
    const isZero = state.isZero || (!isFraction && length === 0 && digit === 0);
    return {
      isFraction,
      length: length + 1,
      isZero,
      orders,
      remainder: (remainder * 10 + digit) % divisor,
    };
  };
  const start = { isFraction: false, length: 0, isZero: false, orders: values.map(() => 0) };
  return stateGraph<Progress>(
    { ...start, remainder: 0 },
    {
      canEnd(state) {
        const written = state.isFraction ? state.length : 0;
        const orders = pointOrders(state).map(
          (order, i) => order || -Math.sign(Math.max(0, values[i]!.fraction.length - written)),
        );
        return (
          state.length > 0 &&
          withZeros(state.remainder, missing - written, divisor) === 0 &&
          values.every(({ isAllowed }, i) => isAllowed(orders[i]!))
        );
      },
      next(state) {
        const { isFraction, length, isZero, orders } = state;
        const isOver = ({ isAllowed }: { isAllowed: OrderTest }, i: number) =>
          orders[i] !== 0 && !isAllowed(orders[i]!);
        if (isFraction && values.some(isOver)) return [];
        const hasMore = isFraction ? length < maxFraction : !isZero && length < maxWhole;
        const targets = new Map<string, { pairs: string; to: Progress }>();
        for (let digit = 0; hasMore && digit < 10; digit++) {
          const to = after(state, digit);
          const key = Object.values(to).join();
          const { pairs = '' } = targets.get(key) ?? {};
          const isNext = digit > 0 && pairs.endsWith(String(digit - 1));
          targets.set(key, {
            pairs: `${isNext ? pairs.slice(0, -1) : `${pairs}${digit}`}${digit}`,
            to,
          });
        }
        const edges = Array.from(targets.values(), ({ pairs, to }) => ({ item: chars(pairs), to }));
        if (isFraction || length === 0 || maxFraction === 0) return edges;
        const point = { ...state, isFraction: true, length: 0, orders: pointOrders(state) };
        return [...edges, { item: text('.'), to: point }];
      },
    },
  );
}

/** Returns the remainder after some zeros. Their power of ten may be too large to be exact. */
function withZeros(remainder: number, zeros: number, divisor: number): number {
  return zeros <= 0 ? remainder : withZeros((remainder * 10) % divisor, zeros - 1, divisor);
}
