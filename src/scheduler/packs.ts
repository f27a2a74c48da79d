// Which prompts of a step run together. One run of several short prompts reads the weights once, instead of once for each.
import { largest } from '../common/long-arrays.ts';
import type { PrefillBatch } from '../engine/batch.ts';
import type { StepPrefill } from './step-plan.ts';

/** The tokens of a run, padded. More make it hardly faster, and its first token later. */
const MAX_TOKENS = 256;
/** The most that padding may add. */
const MAX_PADDED_RATIO = 1.25;

/** Groups consecutive prompts. Those in a group may run together: they are in adjacent slots, and of similar length. */
export function packPrefills(
  prefills: readonly StepPrefill[],
  maxSeqLength: number,
): StepPrefill[][] {
  const packs: StepPrefill[][] = [];
  for (const prefill of prefills) {
    const pack = packs.at(-1);
    const widened = [...(pack ?? []), prefill].map(({ batch }) => batch);
    if (pack && fits(widened, maxSeqLength)) pack.push(prefill);
    else packs.push([prefill]);
  }
  return packs;
}

function fits(batches: readonly PrefillBatch[], maxSeqLength: number): boolean {
  const lengths = batches.map(({ tokenIds }) => tokenIds.length);
  const longest = largest(lengths);
  const padded = longest * batches.length;
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  if (padded > MAX_TOKENS || padded > tokens * MAX_PADDED_RATIO) return false;
  return batches.every(
    (batch, i) =>
      isPlain(batch) &&
      batch.slot === batches[0]!.slot + i &&
      batch.pastLength + longest <= maxSeqLength,
  );
}

/** Whether the chunk ends its prompt, and only one token is drawn after it. */
function isPlain({ sampler, scoring, pooler, forcedIds = [] }: PrefillBatch): boolean {
  return sampler !== undefined && !scoring && !pooler && forcedIds.length === 0;
}
