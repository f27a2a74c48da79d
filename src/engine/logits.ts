// One row of logits as the engine hands it over, its largest entries, and log-probabilities from it.
// Knows nothing of sampling parameters.
import type { TokenLogprob } from '../contracts/generation.ts';
import { NARROW_WIDTH } from '../model/narrow-graph.ts';

/** The largest logits of a row, as a graph finds them. */
export interface TopLogits {
  /** Descending; equal values by ascending id. */
  values: Float32Array;
  ids: ArrayLike<number> | BigInt64Array;
  /** log Σ exp over the whole row, in float32: any order of summation. */
  logSumExp: number;
}

export interface LogitsRow {
  /** [V] */
  logits: Float32Array;
  /** Absent where no graph narrowed the row: it is then narrowed here, in one pass. */
  top?: TopLogits;
}

/**
 * Whether the row can be sampled: no NaN, no +Inf, something above -Inf.
 * A NaN or an Inf anywhere shows in the log-sum-exp, so a narrowed row costs one comparison.
 */
export function isFiniteRow(row: LogitsRow): boolean {
  if (row.top) return Number.isFinite(row.top.logSumExp);
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of row.logits) {
    if (!(logit < Number.POSITIVE_INFINITY)) return false; // NaN fails too
    if (logit > max) max = logit;
  }
  return max > Number.NEGATIVE_INFINITY;
}

/** The row's `NARROW_WIDTH` largest logits; without the log-sum-exp, which costs an exponential each. */
export function selectTop(logits: Float32Array): Omit<TopLogits, 'logSumExp'> {
  const size = Math.min(NARROW_WIDTH, logits.length);
  const values = new Float32Array(size).fill(Number.NEGATIVE_INFINITY);
  const ids = new Int32Array(size);
  let count = 0;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (count === size && value <= values[size - 1]!) continue;
    let at = count < size ? count++ : size - 1;
    for (; at > 0 && values[at - 1]! < value; at--) {
      values[at] = values[at - 1]!;
      ids[at] = ids[at - 1]!;
    }
    values[at] = value;
    ids[at] = id;
  }
  return { values, ids };
}

/**
 * A token's log-probability under the log-softmax of the raw logits, with the `topLogprobs` (0..20)
 * most likely tokens beside it.
 */
export function scoreToken(row: LogitsRow, id: number, topLogprobs: number): TokenLogprob {
  const { values, ids } = row.top ?? selectTop(row.logits);
  const logSumExp = row.top?.logSumExp ?? logSumExpOf(row.logits);
  const top = [];
  for (let i = 0; i < Math.min(topLogprobs, values.length); i++) {
    top.push({ id: Number(ids[i]), logprob: values[i]! - logSumExp });
  }
  return { id, logprob: row.logits[id]! - logSumExp, top };
}

/** A token's place among all by their logits: 1 for the largest. */
export function rankOf({ logits, top }: LogitsRow, id: number): number {
  const logit = logits[id]!;
  if (top && logit > top.values.at(-1)!) return top.values.indexOf(logit) + 1;
  let rank = 1;
  for (const other of logits) if (other > logit) rank++;
  return rank;
}

function logSumExpOf(logits: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > max) max = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}
