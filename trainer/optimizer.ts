// AdamW, gradient clipping and the learning rate schedule, equal to torch's. Works in place on typed arrays.
import { assert } from '../src/common/assert.ts';
import type { Parameter } from './types.ts';

/** Hyperparameters of AdamW. */
export interface AdamWOptions {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Running means of a parameter's gradient and of its square (Adam's moments). */
export interface Moments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

/** The optimizer of some parameters. */
interface AdamW {
  /** One pair per parameter, in order. The optimizer writes them in place. */
  readonly moments: readonly Moments[];
  /**
   * Updates the parameters with `grad * gradScale`.
   * @param step counts from 1
   */
  step(step: number, learningRate: number, gradScale: number): void;
}

/**
 * Creates AdamW (Loshchilov and Hutter): weight decay is separate from the gradient, moments are bias-corrected, and epsilon
 * is added after the square root.
 * @param moments of earlier steps, which are continued in place
 */
export function createAdamW(
  parameters: readonly Parameter[],
  options: AdamWOptions,
  moments: readonly Moments[] = createMoments(parameters),
): AdamW {
  const [beta1, beta2] = options.betas;
  return {
    moments,
    step(step, learningRate, gradScale) {
      assert(step >= 1, 'AdamW: steps count from 1');
      const rate = learningRate / (1 - beta1 ** step);
      const inverseRoot = 1 / Math.sqrt(1 - beta2 ** step);
      for (const [i, parameter] of parameters.entries()) {
        const decay = parameter.decays ? options.weightDecay : 0;
        const keep = 1 - learningRate * decay;
        const scales = { rate, inverseRoot, keep, gradScale, epsilon: options.epsilon };
        update(parameter, moments[i]!, { beta1, beta2, ...scales });
      }
    },
  };
}

/** Returns the moments before the first step. */
export function createMoments(parameters: readonly Parameter[]): Moments[] {
  return parameters.map(({ data }) => ({
    first: new Float32Array(data.length),
    second: new Float32Array(data.length),
  }));
}

interface UpdateScales {
  readonly beta1: number;
  readonly beta2: number;
  readonly rate: number;
  readonly inverseRoot: number;
  readonly keep: number;
  readonly gradScale: number;
  readonly epsilon: number;
}

function update({ data, grad }: Parameter, { first, second }: Moments, scales: UpdateScales): void {
  const { beta1, beta2, rate, inverseRoot, keep, gradScale, epsilon } = scales;
  for (let i = 0; i < data.length; i++) {
    const g = grad[i]! * gradScale;
    const m = beta1 * first[i]! + (1 - beta1) * g;
    const v = beta2 * second[i]! + (1 - beta2) * g * g;
    first[i] = m;
    second[i] = v;
    data[i] = data[i]! * keep - (rate * m) / (Math.sqrt(v) * inverseRoot + epsilon);
  }
}

/** Added to the norm before the division, as in torch. */
const EPSILON = 1e-6;

/** Returns the Euclidean norm over all arrays together, summed in float64. */
export function globalNorm(gradients: Iterable<Float32Array>): number {
  let sum = 0;
  for (const gradient of gradients) {
    for (let i = 0; i < gradient.length; i++) sum += gradient[i]! * gradient[i]!;
  }
  return Math.sqrt(sum);
}

/** Returns the factor that clips a gradient of this norm; 1 if no clipping is needed. */
export function clipFactor(norm: number, maxNorm: number): number {
  return norm > maxNorm ? maxNorm / (norm + EPSILON) : 1;
}

/** The shape of a learning rate schedule after its warm-up. */
export type ScheduleName = 'cosine' | 'linear' | 'constant';

/** A learning rate schedule. */
export interface Schedule {
  readonly name: ScheduleName;
  readonly peak: number;
  readonly warmupSteps: number;
  /** Steps of the whole run. */
  readonly totalSteps: number;
}

/** `progress` runs from 0 after the warm-up to 1, one step after the last. */
const SHAPES: Readonly<Record<ScheduleName, (progress: number) => number>> = {
  cosine: (progress) => (1 + Math.cos(Math.PI * progress)) / 2,
  linear: (progress) => 1 - progress,
  constant: () => 1,
};

/** Returns the learning rate of a step, counted from 0. The first step of a warm-up has rate 0. */
export function learningRateAt(
  step: number,
  { name, peak, warmupSteps, totalSteps }: Schedule,
): number {
  if (step < warmupSteps) return (peak * step) / warmupSteps;
  return peak * SHAPES[name]((step - warmupSteps) / (totalSteps - warmupSteps));
}
