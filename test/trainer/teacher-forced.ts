// What the trainer's own evaluation says of a text that was generated elsewhere.
import type { Example } from '../../trainer/data/example.ts';
import { assembleBatch } from '../../trainer/data/micro-batch.ts';
import type { InspectableModel } from '../../trainer/model.ts';
import type { TrainModel } from '../../trainer/types.ts';

export interface Continuation {
  readonly promptIds: readonly number[];
  readonly tokenIds: readonly number[];
}

/**
 * The token that has the trainer's largest logit at each place of the continuation, given all that was generated
 * before it. Where the two best are nearer than `nearTie`, another order of summation may take either: there the
 * generated token stands, if it is one of the two.
 */
export async function argmaxOver(
  model: InspectableModel,
  { promptIds, tokenIds }: Continuation,
  nearTie = 0,
): Promise<number[]> {
  const example = toExample({ promptIds, tokenIds });
  const logits = await model.logits(assembleBatch([example], [[0]]));
  const width = logits.length / example.ids.length;
  return tokenIds.map((generated, i) => {
    const at = (promptIds.length + i - 1) * width;
    const row = logits.subarray(at, at + width);
    const best = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    return row[best]! - row[generated]! < nearTie ? generated : best;
  });
}

/** Of the continuations' tokens, how many the trainer's evaluation counts as hits, and all. */
export async function evaluateHits(model: TrainModel, continuations: readonly Continuation[]) {
  const examples = continuations.map(toExample);
  const plan = examples.map((_, index) => [index]);
  const { hits, count } = await model.evaluate(assembleBatch(examples, plan));
  return { hits, count };
}

function toExample({ promptIds, tokenIds }: Continuation): Example {
  const ids = Int32Array.of(...promptIds, ...tokenIds);
  const labels = ids.map((id, t) => (t < promptIds.length ? -1 : id));
  return { ids, labels, weights: undefined };
}
