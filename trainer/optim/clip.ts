// The gradient's length over all parameters, and the factor that cuts it down.

/** Keeps the quotient finite where the norm is 0; torch's value. */
const EPSILON = 1e-6;

/** Euclidean norm over all arrays together, summed in float64. */
export function globalNorm(gradients: Iterable<Float32Array>): number {
  let sum = 0;
  for (const gradient of gradients) {
    for (let i = 0; i < gradient.length; i++) sum += gradient[i]! * gradient[i]!;
  }
  return Math.sqrt(sum);
}

/** What to multiply a gradient of this norm with; 1 where it is short enough. */
export function clipFactor(norm: number, maxNorm: number): number {
  return norm > maxNorm ? maxNorm / (norm + EPSILON) : 1;
}
