// One row of logits, its largest entries, and log-probabilities computed from them, before any sampling parameter applies.
import type { TokenLogprob } from '../contracts/generation.ts';
import { TOP_LOGITS_COUNT } from '../model/top-logits.ts';

/** The largest logits of a row. */
export interface TopLogits {
  /** In descending order; equal values by ascending id. */
  values: Float32Array;
  ids: ArrayLike<number> | BigInt64Array;
  /** log Σ exp over the whole row, summed in float32 in any order. */
  logSumExp: number;
  /**
   * Set if some tokens were removed, which makes `logSumExp` only an upper bound. No other token has a larger logit. -Infinity:
   * all others were removed.
   */
  floor?: number;
}

/** The logits of one row. */
export interface LogitsRow {
  /** [V] */
  logits: Float32Array;
  /** Computed by the graph. If absent, one pass here finds the largest logits. */
  top?: TopLogits;
}

/**
 * Whether a row can be sampled: it contains no NaN, no +Inf, and something above -Inf. If there is a log-sum-exp, checking that
 * is enough, because a NaN or an Inf in the row makes it non-finite.
 */
export function isFiniteRow(row: LogitsRow): boolean {
  if (row.top) return Number.isFinite(row.top.logSumExp);
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of row.logits) {
    if (!(logit < Number.POSITIVE_INFINITY)) return false; // also false for NaN
    if (logit > max) max = logit;
  }
  return max > Number.NEGATIVE_INFINITY;
}

/** The `TOP_LOGITS_COUNT` largest logits of a row, without the log-sum-exp, which costs an exponential per logit. */
export function selectTop(logits: Float32Array): Omit<TopLogits, 'logSumExp'> {
  const size = Math.min(TOP_LOGITS_COUNT, logits.length);
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
 * Returns the log-probability of a token under the log-softmax of the raw logits, and the log-probabilities of the
 * `topLogprobs` (0..20) most likely tokens.
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

/** Returns the rank of a token by its logit, 1 for the largest. */
export function tokenRank({ logits, top }: LogitsRow, id: number): number {
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
