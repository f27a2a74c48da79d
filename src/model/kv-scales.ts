// The scales of an int8 KV cache: one per layer, half, KV head and channel, and their file. Does not know the model's
// values.
import type { DecoderConfig } from './config.ts';

/** The largest code. The runtime also stores -128, if a value exceeds what the scale covers. */
const MAX_CODE = 127;
/** A channel that was zero throughout calibration still needs a scale, because the runtime divides by it. */
const MIN_SCALE = 1e-6;

/** The file of the scales beside the serving files: float32, little-endian. */
export const KV_SCALES_FILE = 'kv-scales.bin';

/** The number of scales: layers x 2 halves x KV heads x headDim, keys before values. */
export function kvScaleCount({ layerCount, kvHeadCount, headDim }: DecoderConfig): number {
  return layerCount * 2 * kvHeadCount * headDim;
}

/**
 * Returns scales that cover `margin` times the largest magnitudes, in the same order. Values beyond that are clipped.
 */
export function scalesOf(maxima: Float32Array, margin: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(maxima, (max) => Math.max((margin * max) / MAX_CODE, MIN_SCALE));
}
