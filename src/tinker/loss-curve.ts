// The losses of a model in training: one point per step, thinned so that a long run stays small. Pages draw them.
import { z } from 'zod';
import type { TokenDatum } from '../contracts/training-service.ts';
import type { Pass } from './wire.ts';

export const lossCurveSchema = z.object({
  steps: z.int().nonnegative(),
  /** The number of the last request that counts. Later ones count once, although a new trainer may repeat them. */
  seq: z.int().default(-1),
  /** The number of steps that share a point. */
  stride: z.int().positive().default(1),
  /** The loss and the tokens of the passes since the last point. */
  loss: z.number().default(0),
  tokens: z.int().default(0),
  /** Oldest first: a step's number and its mean loss per token. */
  points: z.array(z.tuple([z.int(), z.number()])),
});
/** The steps of a run so far, and their losses. */
export type LossCurveData = z.infer<typeof lossCurveSchema>;

/** A run that has not begun. */
export const NO_STEPS: LossCurveData = lossCurveSchema.parse({ steps: 0, points: [] });

/** They take 10 kB of a run's record. Charts have about as many pixels. */
const MAX_POINTS = 512;

/** Gathers the losses of a model. */
export class LossCurve {
  #data: LossCurveData;

  /** @param data what is known of the run's earlier steps */
  constructor(data: LossCurveData = NO_STEPS) {
    this.#data = data;
  }

  /** The curve so far. */
  get data(): LossCurveData {
    return this.#data;
  }

  /** Adds a pass that has gradients. One whose loss is not finite does not count. @param loss summed over its tokens */
  addPass(seq: number, { data }: Pick<Pass, 'data'>, loss: number): void {
    const now = this.#data;
    if (seq <= now.seq) return;
    const tokens = data.reduce((sum, datum) => sum + countTokens(datum), now.tokens);
    const counts = Number.isFinite(now.loss + loss);
    this.#data = { ...now, seq, ...(counts && { loss: now.loss + loss, tokens }) };
  }

  /** Ends a step. */
  addStep(seq: number): void {
    if (seq <= this.#data.seq) return;
    const { loss, tokens, stride, points, ...now } = this.#data;
    const steps = now.steps + 1;
    if (steps % stride !== 0) {
      this.#data = { ...this.#data, steps, seq };
      return;
    }
    const next = tokens > 0 ? [...points, [steps, loss / tokens] as [number, number]] : points;
    const isFull = next.length >= MAX_POINTS;
    const thinned = isFull
      ? { stride: 2 * stride, points: halved(next) }
      : { stride, points: next };
    this.#data = { steps, seq, loss: 0, tokens: 0, ...thinned };
  }
}

/** The tokens that the loss is about: those with a weight or an advantage. */
function countTokens({ inputs }: TokenDatum): number {
  const weights = inputs['weights'] ?? inputs['advantages'];
  return weights?.reduce((count, weight) => count + Number(weight !== 0), 0) ?? 0;
}

/** Replaces each two points by their mean. */
function halved(points: LossCurveData['points']): LossCurveData['points'] {
  return points.flatMap(([step, loss], i) =>
    i % 2 === 1 ? [[step, (loss + points[i - 1]![1]) / 2]] : [],
  );
}
