// The scales of an int8 KV cache, one per layer, half, KV head and channel, and the file that stores them.
import type { DecoderConfig } from './config.ts';
import { KV_HALVES } from './kv-attention.ts';

/** The largest code that scales allow for. For values beyond the scale's range, the runtime also stores -128. */
const MAX_CODE = 127;
/** A channel that was zero throughout calibration still needs a scale, because the runtime divides by it. */
const MIN_SCALE = 1e-6;

/** The file with the scales, in the serving folder: float32, little-endian. */
export const KV_SCALES_FILE = 'kv-scales.bin';

/** Returns the number of scales: layers x 2 halves x KV heads x headDim, keys before values. */
export function kvScaleCount({ layerCount, kvHeadCount, headDim }: DecoderConfig): number {
  return layerCount * 2 * kvHeadCount * headDim;
}

/** The largest magnitudes of one layer over a text, [kvHeads * headDim]. */
export interface KvMaxima {
  /**
   * The magnitude of each pair of channels that are rotated together. Rotation moves values from one channel of a pair to the
   * other, and slow rotations take longer than the text.
   */
  readonly key: Float32Array;
  readonly value: Float32Array;
}

/** Measured with other texts and with adapters. See docs/decisions/0013-int8-kv.md. */
const MARGINS = { key: 1.1, value: 1.5 } as const;

/** Returns the scales for the maxima of a calibration run. Values beyond the margins are clipped. */
export function calibratedScales(layers: readonly KvMaxima[]): Float32Array<ArrayBuffer> {
  const scales = layers.flatMap((maxima) =>
    KV_HALVES.flatMap((half) => Array.from(maxima[half], (max) => scaleOf(MARGINS[half] * max))),
  );
  return Float32Array.from(scales);
}

/** Returns the scale of a channel that clips values beyond `max`. */
export function scaleOf(max: number): number {
  return Math.max(max / MAX_CODE, MIN_SCALE);
}
