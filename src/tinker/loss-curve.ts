// The losses of a model in training: one point per step, thinned so that a long run stays small. Pages draw them.
import { z } from 'zod';
import type { TokenDatum } from '../contracts/training-service.ts';
import type { Pass } from './wire.ts';

export const lossCurveSchema = z.object({
  steps: z.int().nonnegative(),
  /** Oldest first: a step's number and its mean loss per token. */
  points: z.array(z.tuple([z.int(), z.number()])),
});
/** The steps of a run so far, and their losses. */
export type LossCurveData = z.infer<typeof lossCurveSchema>;

/** They take 10 kB of a run's record. Charts have about as many pixels. */
const MAX_POINTS = 512;

/** Gathers the losses of a model. */
export class LossCurve {
  #data: LossCurveData = { steps: 0, points: [] };
  /** The number of steps that share a point. */
  #stride = 1;
  /** The loss and tokens of the passes since the last point. */
  #loss = 0;
  #tokens = 0;

  /** The curve so far. */
  get data(): LossCurveData {
    return this.#data;
  }

  /** Adds a pass that has gradients. @param loss summed over its tokens */
  addPass({ data }: Pick<Pass, 'data'>, loss: number): void {
    this.#loss += loss;
    this.#tokens += data.reduce((sum, datum) => sum + countTokens(datum), 0);
  }

  /** Ends a step. */
  addStep(): void {
    const steps = this.#data.steps + 1;
    const { points } = this.#data;
    this.#data = { steps, points };
    if (steps % this.#stride !== 0) return;
    const loss = this.#loss / this.#tokens;
    if (Number.isFinite(loss)) points.push([steps, loss]);
    this.#loss = 0;
    this.#tokens = 0;
    if (points.length < MAX_POINTS) return;
    this.#data = { steps, points: halved(points) };
    this.#stride *= 2;
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
