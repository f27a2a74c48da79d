// AdamW (Loshchilov and Hutter): decay apart from the gradient, moments corrected for their start at 0, epsilon added
// after the root, all as torch does it. Works in place on typed arrays; knows no model.
import { assert } from '../../src/common/assert.ts';
import type { Parameter } from '../types.ts';

export interface AdamWOptions {
  readonly betas: readonly [number, number];
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Running means of a parameter's gradient and of its square. */
export interface Moments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

export interface AdamW {
  /** By parameter, in the order given; owned by the optimizer, written in place. */
  readonly moments: readonly Moments[];
  /**
   * One update with `grad * gradScale`.
   * @param step counts from 1
   */
  step(step: number, learningRate: number, gradScale: number): void;
}

export function createAdamW(parameters: readonly Parameter[], options: AdamWOptions): AdamW {
  const moments = parameters.map(({ data }) => ({
    first: new Float32Array(data.length),
    second: new Float32Array(data.length),
  }));
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
