// Removes the tokens that must not be drawn from a row of logits.
import { TOP_LOGITS_COUNT } from '../../model/top-logits.ts';
import type { LogitsRow, TopLogits } from '../logits.ts';

/** Working memory, as long as the longest row. All sequences share it, because drawing is synchronous. */
let memory = new Float32Array(0);
/** Its first values, [V]. */
let masked = memory;

/**
 * Returns the row with -Infinity for all tokens but the allowed ones (bit `id % 32` of word `id >> 5`). Valid until the next
 * call. Its largest logits are the allowed ones among those of the row, if there are any.
 */
export function maskRow(row: LogitsRow, allowed: Uint32Array): LogitsRow {
  const { logits } = row;
  if (memory.length < logits.length) memory = new Float32Array(logits.length);
  if (masked.length !== logits.length || masked.buffer !== memory.buffer)
    masked = memory.subarray(0, logits.length);
  masked.fill(Number.NEGATIVE_INFINITY);
  const few: number[] = [];
  let count = 0;
  for (let word = 0; word < allowed.length; word++) {
    const bits = allowed[word]!;
    if (bits === 0) continue;
    const start = word * 32;
    if (count >= TOP_LOGITS_COUNT) {
      // Most tokens of most words may follow inside a string, so the others are removed from a copy.
      masked.set(logits.subarray(start, start + 32), start);
      const last = Math.min(32, logits.length - start);
      for (let left = ~bits; left !== 0; left &= left - 1) {
        const bit = 31 - Math.clz32(left & -left);
        if (bit < last) masked[start + bit] = Number.NEGATIVE_INFINITY;
      }
      count++;
      continue;
    }
    for (let left = bits; left !== 0; left &= left - 1) {
      const id = start + 31 - Math.clz32(left & -left);
      if (id >= logits.length) break;
      masked[id] = logits[id]!;
      if (count++ < TOP_LOGITS_COUNT) few.push(id);
    }
  }
  if (count <= TOP_LOGITS_COUNT) return { logits: masked, top: wholeTop(few) };
  return withTop(row, allowed);
}

/** The top of a row whose other tokens are all forbidden. */
function wholeTop(ids: readonly number[]): TopLogits {
  const order = [...ids].sort((a, b) => masked[b]! - masked[a]! || a - b);
  const values = Float32Array.from(order, (id) => masked[id]!);
  return { values, ids: order, logSumExp: Number.NaN, floor: Number.NEGATIVE_INFINITY };
}

function withTop({ top }: LogitsRow, allowed: Uint32Array): LogitsRow {
  if (!top) return { logits: masked };
  const ids = Array.from(top.ids, Number).filter((id) => (allowed[id >> 5]! >>> (id & 31)) & 1);
  if (ids.length === 0) return { logits: masked };
  const values = Float32Array.from(ids, (id) => masked[id]!);
  const floor = top.values.at(-1)!;
  return { logits: masked, top: { values, ids, logSumExp: top.logSumExp, floor } };
}
