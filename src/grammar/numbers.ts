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
const BOUNDS_AGAINST = [
  ['minimum', 'maximum'],
  ['minimum', 'exclusiveMaximum'],
  ['exclusiveMinimum', 'maximum'],
  ['exclusiveMinimum', 'exclusiveMaximum'],
] as const;

/** A bound, and the orders that numbers may have relative to it. */
interface Bound extends Signed {
  readonly isAllowed: OrderTest;
}

/** Matches the numbers that satisfy the schema. Throws `ContradictionError` if there are none. */
export function numberPattern(
  type: 'number' | 'integer',
  { limits, multiples, excluded }: Normalized,
  path: string,
): TextPattern {
  checkOrder(limits);
  const bounds = BOUNDS.flatMap((name): Bound[] => {
    const limit = limits[name];
    return limit ? [{ ...signedDigits(limit), isAllowed: LIMITS[name].isAllowed }] : [];
  });
  const others = excluded
    .filter((value) => typeof value === 'number')
    .map((value) => signedDigits({ value, path }));
  const steps = multiples.filter(({ value }) => !(value === 1 && type === 'integer'));
  if (bounds.length + others.length + steps.length === 0)
    return type === 'integer' ? ANY_INTEGER : ANY_NUMBER;
  return located(steps[0]?.path ?? path, () => {
    const multiple = commonMultiple(steps);
    const options = [-1, 1].flatMap((sign) => signed(sign, bounds, others, type, multiple));
    if (options.length === 0) throw new ContradictionError('no number is allowed');
    return choice(...options);
  });
}

function checkOrder(limits: Normalized['limits']): void {
  for (const [lower, upper] of BOUNDS_AGAINST) {
    const [least, most] = [limits[lower], limits[upper]];
    if (!least || !most) continue;
    const isEmpty =
      lower === 'minimum' && upper === 'maximum'
        ? least.value > most.value
        : least.value >= most.value;
    if (isEmpty)
      throw new ContradictionError(`leaves no number, as ${upper} is ${most.value}`, least.path);
  }
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
  const divisor = [1, ...divisors].reduce((one, other) => {
    const common =
      other > MAX_DIVISOR ? Number.POSITIVE_INFINITY : (one / greatestDivisor(one, other)) * other;
    if (common > MAX_DIVISOR)
      throw new GrammarError(`must have at most ${MAX_DIVISOR} as its digits`);
    return common;
  });
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

interface Signed extends Digits {
  readonly sign: number;
}

function signedDigits({ value, path }: Located<number>): Signed {
  return { ...located(path, () => digitsOf(Math.abs(value))), sign: value < 0 ? -1 : 1 };
}

/** Returns the pattern of the numbers of a sign, if there can be any. 0 is positive. */
function signed(
  sign: number,
  bounds: readonly Bound[],
  others: readonly Signed[],
  type: 'number' | 'integer',
  multiple: Multiple | undefined,
): TextPattern[] {
  if (bounds.some((one) => one.sign !== sign && !one.isAllowed(sign))) return [];
  const excluded = others.filter((one) => one.sign === sign);
  const magnitudes = bounds
    .filter((one) => one.sign === sign)
    .map((one) => ({ ...one, isAllowed: (order: number) => one.isAllowed(sign * order) }));
  if (sign > 0) return [decimals(magnitudes, excluded, type, multiple)];
  const zero = { whole: '0', fraction: '', sign, isAllowed: LIMITS.exclusiveMinimum.isAllowed };
  return [sequence(text('-'), decimals([...magnitudes, zero], excluded, type, multiple))];
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
  /** The excluded values that begin with these digits. */
  readonly tied: readonly number[];
  /** The remainder of all digits, divided by the step. */
  readonly remainder: number;
}

/**
 * Matches decimals without a sign. Readers round numbers with more than `MAX_DIGITS` digits, which would then no longer be
 * multiples.
 */
function decimals(
  values: readonly Bound[],
  excluded: readonly Digits[],
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
  /** A whole part with fewer digits than a value's is less. */
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
    const tied = state.tied.filter((i) => {
      const { whole, fraction } = excluded[i]!;
      return (isFraction ? (fraction[length] ?? '0') : whole[length]) === String(digit);
    });
    const isZero = state.isZero || (!isFraction && length === 0 && digit === 0);
    return {
      isFraction,
      length: length + 1,
      isZero,
      orders,
      tied,
      remainder: (remainder * 10 + digit) % divisor,
    };
  };
  /** Whether the whole part of an excluded value ends here. */
  const isWhole = ({ isFraction, length }: Progress, i: number) =>
    isFraction || excluded[i]!.whole.length === length;
  const start = { isFraction: false, length: 0, isZero: false, orders: values.map(() => 0) };
  return stateGraph<Progress>(
    { ...start, tied: [...excluded.keys()], remainder: 0 },
    {
      canEnd(state) {
        const written = state.isFraction ? state.length : 0;
        const orders = pointOrders(state).map(
          (order, i) => order || -Math.sign(Math.max(0, values[i]!.fraction.length - written)),
        );
        return (
          state.length > 0 &&
          withZeros(state.remainder, missing - written, divisor) === 0 &&
          values.every(({ isAllowed }, i) => isAllowed(orders[i]!)) &&
          !state.tied.some((i) => isWhole(state, i) && excluded[i]!.fraction.length <= written)
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
        const tied = state.tied.filter((i) => isWhole(state, i));
        const point = { ...state, isFraction: true, length: 0, orders: pointOrders(state), tied };
        return [...edges, { item: text('.'), to: point }];
      },
    },
  );
}

/** Returns the remainder after some zeros. Their power of ten may be too large to be exact. */
function withZeros(remainder: number, zeros: number, divisor: number): number {
  return zeros <= 0 ? remainder : withZeros((remainder * 10) % divisor, zeros - 1, divisor);
}
