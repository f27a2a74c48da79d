// Chooses a token from logits, in float64: penalties and bias, temperature, top_k, top_p, min_p, then the random draw. Reads
// only the row's largest logits if they decide the outcome, else the whole row. Both ways choose the same token, because a draw
// visits tokens in a fixed order: with filters, the kept tokens by rank; without, the largest ones by rank and then all others
// by id.
import { AssertionError } from '../../common/assert.ts';
import type { SamplingParams } from '../../contracts/generation.ts';
import { type LogitsRow, selectTop, type TopLogits } from '../logits.ts';
import {
  exactly,
  type Interval,
  isFiltered,
  keptCount,
  lastBucketNeeded,
  type RankedPrefix,
  weightOf,
} from './filters.ts';
import type { Penalties } from './penalties.ts';
import { fillBuckets, type Ranking, rankBuckets, sortRange } from './ranking.ts';

/** Returns the next number, uniform in [0, 1) with 53 random bits. */
export type Random = () => number;

/** The input of one draw. */
interface DrawInput {
  row: LogitsRow;
  params: SamplingParams;
  penalties: Penalties;
}

/** The largest values of the row, ranked. All others are at most `tail`. */
interface TopCandidates extends RankedPrefix {
  /** The number of tokens with known values of at most `tail`. They are at the end of `order`. */
  others: number;
}

/** At lower temperatures the softmax of float32 logits is greedy except for exact ties, and values would overflow. */
const MIN_TEMPERATURE = 1e-6;

/** Working memory, as long as the longest row. All sequences share it, because choosing a token is synchronous. */
let memory: Ranking = createScratch(0);
/** Views of the working memory, [V] each. Adapters may have longer or shorter rows than the base. */
let scratch: Ranking = memory;

/** Chooses a token. Returns undefined if every token is forbidden. */
export function chooseToken(input: DrawInput, random: Random): number | undefined {
  if (isGreedy(input)) return largest(input);
  const top = rankTop(input);
  if (isNothingLeft(top)) return undefined;
  const uniform = random();
  if (!isFiltered(input.params, input.row.logits.length)) return drawAny(input, top, uniform);
  const count = countKept(input, top);
  return pickByWeight(top, count, uniform * weightOf(top, count)) ?? top.order[count - 1]!;
}

/** The probabilities [V] that `chooseToken` draws from. */
export function probabilities(input: DrawInput): Float64Array {
  const vocabSize = input.row.logits.length;
  const probs = new Float64Array(vocabSize);
  if (isGreedy(input)) {
    const id = largest(input);
    if (id !== undefined) probs[id] = 1;
    return probs;
  }
  const top = rankTop(input);
  if (isNothingLeft(top)) return probs;
  const { order, weights } = top;
  if (isFiltered(input.params, vocabSize)) {
    for (const id of order.subarray(0, countKept(input, top))) probs[id] = weights[id]!;
  } else {
    weighAll(input);
    probs.set(weights);
  }
  const total = probs.reduce((sum, weight) => sum + weight, 0);
  return probs.map((weight) => weight / total);
}

function isGreedy({ params }: DrawInput): boolean {
  return params.temperature < MIN_TEMPERATURE;
}

/** Whether every token is forbidden. */
function isNothingLeft({ count, tail }: TopCandidates): boolean {
  return count === 0 && tail === Number.NEGATIVE_INFINITY;
}

/** Returns the token with the largest logit after penalties and bias. Undefined if every token is forbidden. */
function largest(input: DrawInput): number | undefined {
  const { row, penalties } = input;
  if (row.top && row.top.ids.length > 0 && penalties.isEmpty) return Number(row.top.ids[0]);
  const top = row.top && rankTop(input);
  if (top && top.count > 0) return top.order[0]!;
  const max = fillValues(input);
  if (max === Number.NEGATIVE_INFINITY) return undefined;
  return scratchFor(row.logits.length).values.indexOf(max);
}

/**
 * Ranks the tokens whose values are known, which are the largest logits and the penalized tokens, as far as they are above
 * `tail`.
 */
function rankTop({ row, params, penalties }: DrawInput): TopCandidates {
  const { logits } = row;
  const top = row.top ?? selectTop(logits);
  const { order, values, weights } = scratchFor(logits.length);
  const tail = toValue(floorOf(top, logits.length), params);
  let count = 0;
  let others = 0;
  const add = (id: number, logit: number) => {
    const value = toValue(logit, params);
    values[id] = value;
    if (value > tail) order[count++] = id;
    else order[order.length - ++others] = id;
  };
  for (let i = 0; i < top.values.length; i++) {
    const id = Number(top.ids[i]);
    if (!penalties.has(id)) add(id, top.values[i]!);
  }
  if (!penalties.isEmpty) {
    for (const id of penalties.ids()) add(id, penalties.apply(id, logits[id]!));
    sortRange(scratch, 0, count);
  }
  const max = values[order[0]!]!;
  for (const id of order.subarray(0, count)) weights[id] = Math.exp(values[id]! - max);
  return { order, values, weights, count, tail, others };
}

/** An upper bound on every logit that is not among the largest ones. */
function floorOf(top: Omit<TopLogits, 'logSumExp'>, vocabSize: number): number {
  if (top.floor !== undefined) return top.floor;
  return top.values.length === vocabSize ? Number.NEGATIVE_INFINITY : top.values.at(-1)!;
}

/** Draws without filters. */
function drawAny(input: DrawInput, top: TopCandidates, uniform: number): number {
  const bounds = totalBounds(input, top);
  if (bounds) {
    const first = pickByWeight(top, top.count, uniform * bounds.low);
    if (first !== undefined && first === pickByWeight(top, top.count, uniform * bounds.high))
      return first;
  }
  const target = uniform * weighAll(input).total;
  return pickByWeight(top, top.count, target) ?? pickFromRest(top, target);
}

/** Returns how many tokens of `top.order` the filters keep. Ranks more tokens if necessary. */
function countKept(input: DrawInput, top: TopCandidates): number {
  const { params } = input;
  const bounds = () => totalBounds(input, top);
  const byTop = top.count > 0 ? keptCount(top, params, bounds) : undefined;
  if (byTop !== undefined) return byTop;

  const { max, total } = weighAll(input);
  const buckets = fillBuckets(scratch, max);
  const vocabSize = input.row.logits.length;
  const likely = lastBucketNeeded(buckets, params, { max, total, vocabSize });
  for (const last of [likely, buckets.counts.length - 1]) {
    const ranked = rankBuckets(scratch, buckets, { max, last });
    const kept = keptCount({ ...scratch, ...ranked }, params, () => exactly(total));
    if (kept !== undefined) return kept;
  }
  throw new AssertionError('a full ranking does not decide the filters');
}

/**
 * Returns bounds on the sum of all weights exp(logit / temperature - max) from the top candidates alone, or undefined if they give none.
 * The raw mass m of the N unknown tokens is the rest of the log-sum-exp. With a = 1 / temperature and x_i = exp(logit_i) ≤ t:
 * N (m/N)^a ≤ Σ x_i^a ≤ m t^(a-1) for a ≥ 1 (convexity; x^a = x · x^(a-1)), and the reverse for a ≤ 1.
 */
function totalBounds({ row, params }: DrawInput, top: TopCandidates): Interval | undefined {
  if (top.count === 0) return undefined;
  if (top.tail === Number.NEGATIVE_INFINITY) return exactly(weightOf(top, top.count));
  if (!row.top) return undefined;
  const { order, values } = top;
  const { logSumExp } = row.top;
  const vocabSize = row.logits.length;
  const max = values[order[0]!]!;
  const known = { weight: 0, rawMass: 0 };
  const add = (id: number) => {
    known.weight += Math.exp(values[id]! - max);
    known.rawMass += Math.exp(row.logits[id]! - logSumExp);
  };
  order.subarray(0, top.count).forEach(add);
  order.subarray(order.length - top.others).forEach(add);

  const count = vocabSize - top.count - top.others; // N
  const power = 1 / params.temperature; // a
  const logTail = floorOf(row.top, vocabSize) - logSumExp; // log t, in units of the whole mass
  const logUnit = logSumExp * power - max;
  const atTail = (mass: number) => Math.exp(logUnit + Math.log(mass) + (power - 1) * logTail);
  const evenly = (mass: number) =>
    Math.exp(logUnit + Math.log(count) + power * Math.log(mass / count));
  const error = logSumExpError(vocabSize, logSumExp);
  // The log-sum-exp of a masked row includes forbidden tokens, so it gives no lower bound.
  const isMasked = row.top.floor !== undefined;
  const least = isMasked ? 0 : Math.max(0, Math.exp(-error) - known.rawMass);
  const most = Math.max(0, Math.exp(error) - known.rawMass);
  const low = count === 0 ? 0 : power >= 1 ? evenly(least) : atTail(least);
  const high = count === 0 ? 0 : power >= 1 ? atTail(most) : evenly(most);
  return {
    low: (known.weight + low) * (1 - SLACK),
    high: (known.weight + high) * (1 + SLACK),
  };
}

/** Sets the value and the weight of every token. Returns the largest value and the sum of the weights. */
function weighAll(input: DrawInput): { max: number; total: number } {
  const max = fillValues(input);
  const { values, weights } = scratch;
  let total = 0;
  for (let id = 0; id < values.length; id++) {
    const weight = Math.exp(values[id]! - max);
    weights[id] = weight;
    total += weight;
  }
  return { max, total };
}

/** Sets the value of every token. Returns the largest value. */
function fillValues({ row: { logits }, params, penalties }: DrawInput): number {
  const { values } = scratchFor(logits.length);
  for (let id = 0; id < logits.length; id++) values[id] = toValue(logits[id]!, params);
  for (const id of penalties.ids()) values[id] = toValue(penalties.apply(id, logits[id]!), params);
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < values.length; id++) if (values[id]! > max) max = values[id]!;
  return max;
}

/** Divides by the temperature. The result is never +Infinity, because a difference of infinities would be NaN. */
function toValue(logit: number, { temperature }: SamplingParams): number {
  const value = temperature < MIN_TEMPERATURE ? logit : logit / temperature;
  return Math.min(value, Number.MAX_VALUE);
}

/** Returns the first of `order[0..count)` at which the running sum of weights passes `target`. */
function pickByWeight(
  { order, weights }: Ranking,
  count: number,
  target: number,
): number | undefined {
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += weights[order[i]!]!;
    if (target < sum) return order[i]!;
  }
  return undefined;
}

/** Continues after the top candidates with all other tokens, by ascending id. */
function pickFromRest(top: TopCandidates, target: number): number {
  const { order, values, weights, tail } = top;
  let sum = weightOf(top, top.count);
  let last = order[0]!;
  for (let id = 0; id < values.length; id++) {
    if (values[id]! > tail) continue; // already among the top
    sum += weights[id]!;
    if (weights[id]! > 0) last = id;
    if (target < sum) return id;
  }
  return last; // the two sums round differently
}

function scratchFor(vocabSize: number): Ranking {
  if (scratch.order.length === vocabSize) return scratch;
  if (memory.order.length < vocabSize) memory = createScratch(vocabSize);
  const { order, values, weights } = memory;
  scratch = {
    order: order.subarray(0, vocabSize),
    values: values.subarray(0, vocabSize),
    weights: weights.subarray(0, vocabSize),
  };
  return scratch;
}

function createScratch(vocabSize: number): Ranking {
  return {
    order: new Int32Array(vocabSize),
    values: new Float64Array(vocabSize),
    weights: new Float64Array(vocabSize),
  };
}

/** Covers float64 rounding on both sides of a comparison with the bounds. It is far below float32 rounding. */
const SLACK = 1e-7;

/**
 * The largest error of a float32 log-sum-exp for any order of summation: V roundings of the sum (2^-24 each), a few
 * units in the last place of exp and log, and the rounding of the result.
 */
function logSumExpError(vocabSize: number, logSumExp: number): number {
  return vocabSize * 2 ** -24 + (Math.abs(logSumExp) + 8) * 2 ** -21;
}
