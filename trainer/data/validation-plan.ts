// The micro-batches in which validation rows are evaluated.
import type { MicroBatchPlan } from './epoch-plan.ts';

/** Sorted by length, so that little is padding; the sum does not depend on the order of rows. */
export function planValidation(lengths: readonly number[], batchSize: number): MicroBatchPlan[] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[a]! - lengths[b]!);
  const plans: MicroBatchPlan[] = [];
  for (let start = 0; start < order.length; start += batchSize) {
    plans.push(order.slice(start, start + batchSize).map((index) => [index]));
  }
  return plans;
}
