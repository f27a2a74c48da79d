// The way from logits to a token: penalties and bias, temperature, top_k, top_p, min_p, draw; in float64.
// Looks at the row's largest logits where they settle the outcome, else at the whole row: both give the
// same token. To that end a draw walks the kept tokens in ranked order, or, where nothing is filtered,
// first the largest ones in ranked order and then all others by ascending id.
import type { SamplingParams } from '../../generation.ts';
import { type LogitsRow, selectTop } from '../logits.ts';
import {
  exactly,
  type Interval,
  isFiltered,
  keptCount,
  type RankedPrefix,
  weightOf,
} from './filters.ts';
import type { Penalties } from './penalties.ts';
import type { Random } from './random.ts';
import { rankTo, sortRange } from './ranking.ts';
import { boundTotal } from './total-bounds.ts';

/** One draw's input. */
export interface Choice {
  row: LogitsRow;
  params: SamplingParams;
  penalties: Penalties;
}

/** The row's largest values, ranked; all others are at most `tail`. */
interface Head extends RankedPrefix {
  /** More tokens whose values are known but not above `tail`: the last `others` of `order`. */
  others: number;
}

/** Below this the softmax of float32 logits is greedy but for exact ties, and values would overflow. */
const MIN_TEMPERATURE = 1e-6;

/** Ranked at first where the head does not settle a filter; then `RANKED_GROWTH` times as many. */
const FIRST_RANKED = 512;
const RANKED_GROWTH = 8;

/** Working memory, [V] each: shared by all sequences, for choosing a token is synchronous. */
let scratch = { order: new Int32Array(0), values: new Float64Array(0) };

export function chooseToken(choice: Choice, random: Random): number {
  if (isGreedy(choice)) return largest(choice);
  const head = rankHead(choice);
  const uniform = random();
  if (!isFiltered(choice.params, choice.row.logits.length)) return drawAny(choice, head, uniform);
  const count = countKept(choice, head);
  return walk(head, count, uniform * weightOf(head, count)) ?? head.order[count - 1]!;
}

/** The distribution that `chooseToken` draws from, [V]. */
export function probabilities(choice: Choice): Float64Array {
  const vocabSize = choice.row.logits.length;
  const probs = new Float64Array(vocabSize);
  if (isGreedy(choice)) {
    probs[largest(choice)] = 1;
    return probs;
  }
  const head = rankHead(choice);
  const { order, values } = head;
  if (isFiltered(choice.params, vocabSize)) {
    const count = countKept(choice, head);
    const max = values[order[0]!]!;
    for (const id of order.subarray(0, count)) probs[id] = Math.exp(values[id]! - max);
  } else {
    const max = fillValues(choice);
    for (let id = 0; id < vocabSize; id++) probs[id] = Math.exp(values[id]! - max);
  }
  const total = probs.reduce((sum, weight) => sum + weight, 0);
  return probs.map((weight) => weight / total);
}

function isGreedy({ params }: Choice): boolean {
  return params.temperature < MIN_TEMPERATURE;
}

/** The first largest logit after penalties and bias. */
function largest(choice: Choice): number {
  const { row, penalties } = choice;
  if (penalties.size === 0 && row.top) return Number(row.top.ids[0]);
  const head = row.top ? rankHead(choice) : undefined;
  if (head && head.count > 0) return head.order[0]!;
  const max = fillValues(choice);
  return scratch.values.indexOf(max);
}

/** Ranks the known tokens that are above every other one: the row's top and what penalties touch. */
function rankHead({ row, params, penalties }: Choice): Head {
  const { logits } = row;
  const top = row.top ?? selectTop(logits);
  const { order, values } = scratchFor(logits.length);
  const isWhole = top.values.length === logits.length;
  const tail = isWhole ? Number.NEGATIVE_INFINITY : toValue(top.values.at(-1)!, params);
  let count = 0;
  let others = 0;
  const place = (id: number, logit: number) => {
    const value = toValue(logit, params);
    values[id] = value;
    if (value > tail) order[count++] = id;
    else order[order.length - ++others] = id;
  };
  for (let i = 0; i < top.values.length; i++) {
    const id = Number(top.ids[i]);
    if (!penalties.has(id)) place(id, top.values[i]!);
  }
  if (penalties.size > 0) {
    for (const id of penalties.ids) place(id, penalties.apply(id, logits[id]!));
    sortRange(scratch, 0, count);
  }
  return { order, values, count, tail, others };
}

/** Draws where nothing is filtered. */
function drawAny(choice: Choice, head: Head, uniform: number): number {
  const bounds = totalBounds(choice, head);
  if (bounds) {
    const first = walk(head, head.count, uniform * bounds.low);
    if (first !== undefined && first === walk(head, head.count, uniform * bounds.high))
      return first;
  }
  const max = fillValues(choice);
  const total = totalWeight(head.values, max);
  return walk(head, head.count, uniform * total) ?? walkRest(head, max, uniform * total);
}

/** How many tokens of `head.order` the filters keep; ranks as many as that takes. */
function countKept(choice: Choice, head: Head): number {
  const { params } = choice;
  const { order, values } = head;
  const fromHead =
    head.count > 0 ? keptCount(head, params, () => totalBounds(choice, head)) : undefined;
  if (fromHead !== undefined) return fromHead;

  const max = fillValues(choice);
  let total: Interval | undefined;
  const totalOf = () => {
    total ??= exactly(totalWeight(values, max));
    return total;
  };
  const withTotal = head.count > 0 ? keptCount(head, params, totalOf) : undefined;
  if (withTotal !== undefined) return withTotal;

  const size = order.length;
  for (let id = 0; id < size; id++) order[id] = id;
  let ranked = 0;
  for (let to = Math.min(size, FIRST_RANKED); ; to = Math.min(size, to * RANKED_GROWTH)) {
    rankTo(scratch, { from: ranked, to, size });
    ranked = to;
    const tail = ranked === size ? Number.NEGATIVE_INFINITY : values[order[ranked - 1]!]!;
    const count = keptCount({ order, values, count: ranked, tail }, params, totalOf);
    if (count !== undefined) return count;
  }
}

/** What the head tells about the sum of all weights; undefined where it tells nothing. */
function totalBounds({ row, params }: Choice, head: Head): Interval | undefined {
  if (head.count === 0) return undefined;
  if (head.tail === Number.NEGATIVE_INFINITY) {
    return exactly(weightOf(head, head.count));
  }
  if (!row.top) return undefined;
  const { order, values } = head;
  const { logSumExp } = row.top;
  const max = values[order[0]!]!;
  const known = { count: head.count + head.others, weight: 0, rawMass: 0 };
  const add = (id: number) => {
    known.weight += Math.exp(values[id]! - max);
    known.rawMass += Math.exp(row.logits[id]! - logSumExp);
  };
  order.subarray(0, head.count).forEach(add);
  order.subarray(order.length - head.others).forEach(add);
  return boundTotal(known, {
    vocabSize: row.logits.length,
    temperature: params.temperature,
    max,
    tail: row.top.values.at(-1)!,
    logSumExp,
  });
}

/** Sets every token's value; returns the largest. */
function fillValues({ row: { logits }, params, penalties }: Choice): number {
  const { values } = scratchFor(logits.length);
  for (let id = 0; id < logits.length; id++) values[id] = toValue(logits[id]!, params);
  for (const id of penalties.ids) values[id] = toValue(penalties.apply(id, logits[id]!), params);
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > max) max = value;
  return max;
}

/** Finite: an infinite value would make its neighbours' weights NaN. */
function toValue(logit: number, { temperature }: SamplingParams): number {
  const value = temperature < MIN_TEMPERATURE ? logit : logit / temperature;
  return Math.min(value, Number.MAX_VALUE);
}

function totalWeight(values: Float64Array, max: number): number {
  let sum = 0;
  for (const value of values) sum += Math.exp(value - max);
  return sum;
}

/** The first of `order[0..count)` at which the running sum of weights passes `target`. */
function walk(prefix: RankedPrefix, count: number, target: number): number | undefined {
  const { order, values } = prefix;
  const max = values[order[0]!]!;
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += Math.exp(values[order[i]!]! - max);
    if (target < sum) return order[i]!;
  }
  return undefined;
}

/** Goes on after the head with all other tokens by ascending id. */
function walkRest(head: Head, max: number, target: number): number {
  const { order, values, tail } = head;
  let sum = head.count === 0 ? 0 : weightOf(head, head.count);
  let last = order[0]!;
  for (let id = 0; id < values.length; id++) {
    if (values[id]! > tail) continue; // in the head
    const weight = Math.exp(values[id]! - max);
    sum += weight;
    if (weight > 0) last = id;
    if (target < sum) return id;
  }
  return last; // rounding of the sum
}

function scratchFor(vocabSize: number): typeof scratch {
  if (scratch.order.length !== vocabSize) {
    scratch = { order: new Int32Array(vocabSize), values: new Float64Array(vocabSize) };
  }
  return scratch;
}
