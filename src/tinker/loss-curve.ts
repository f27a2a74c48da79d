// The losses of a model in training: one point per step, thinned so that a long run stays small. Pages draw them.
import { z } from 'zod';
import type { TokenDatum } from '../contracts/training-service.ts';
import type { Pass } from './wire.ts';

export const lossCurveSchema = z.object({
  steps: z.int().nonnegative(),
  /** The number of the request that ended the last of them. */
  seq: z.int().default(-1),
  /** Oldest first: a step's number and its mean loss per token. */
  points: z.array(z.tuple([z.int(), z.number()])),
});
/** The steps of a run so far, and their losses. */
export type LossCurveData = z.infer<typeof lossCurveSchema>;

/** A run that has not begun. */
export const NO_STEPS: LossCurveData = { steps: 0, seq: -1, points: [] };

/** They take 10 kB of a run's record. Charts have about as many pixels. */
const MAX_POINTS = 512;

/** Gathers the losses of a model. */
export class LossCurve {
  #data: LossCurveData;
  /** The number of steps that share a point. */
  #stride: number;
  /** The number of the last request that counts. Later ones count once, although a new trainer may repeat them. */
  #seq: number;
  /** The loss and tokens of the passes since the last point. */
  #loss = 0;
  #tokens = 0;

  /** @param data what is known of the run's earlier steps */
  constructor(data: LossCurveData = NO_STEPS) {
    this.#data = { ...data, points: [...data.points] };
    this.#stride = data.points[0]?.[0] ?? 1;
    this.#seq = data.seq;
  }

  /** The curve so far. */
  get data(): LossCurveData {
    return this.#data;
  }

  /** Adds a pass that has gradients. @param loss summed over its tokens */
  addPass(seq: number, { data }: Pick<Pass, 'data'>, loss: number): void {
    if (!this.#isNew(seq)) return;
    this.#loss += loss;
    this.#tokens += data.reduce((sum, datum) => sum + countTokens(datum), 0);
  }

  /** Ends a step. */
  addStep(seq: number): void {
    if (!this.#isNew(seq)) return;
    const steps = this.#data.steps + 1;
    const { points } = this.#data;
    this.#data = { steps, seq, points };
    if (steps % this.#stride !== 0) return;
    const loss = this.#loss / this.#tokens;
    if (Number.isFinite(loss)) points.push([steps, loss]);
    this.#loss = 0;
    this.#tokens = 0;
    if (points.length < MAX_POINTS) return;
    this.#data = { steps, seq, points: halved(points) };
    this.#stride *= 2;
  }

  #isNew(seq: number): boolean {
    if (seq <= this.#seq) return false;
    this.#seq = seq;
    return true;
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
