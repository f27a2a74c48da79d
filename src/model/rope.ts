// Rotary embedding tables, computed as transformers does, in float32 at each step.
// Source: transformers `modeling_rope_utils.py` (default, linear, llama3).
import type { DecoderConfig, Rope } from './config.ts';

/** The cosines and sines of position * frequency, each [positions, headDim / 2] in row-major order. */
export function ropeTables(
  config: DecoderConfig,
  positions: number,
): { cos: Float32Array<ArrayBuffer>; sin: Float32Array<ArrayBuffer> } {
  const frequencies = inverseFrequencies(config.rope, config.headDim);
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * frequencies[i]!);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

function inverseFrequencies(rope: Rope, headDim: number): Float32Array {
  const base = Float32Array.from(
    { length: headDim / 2 },
    (_, i) => 1 / Math.fround(rope.theta ** Math.fround((2 * i) / headDim)),
  );
  switch (rope.type) {
    case 'default':
      return base;
    case 'linear':
      return base.map((f) => f / rope.factor);
    case 'llama3':
      return base.map((f) => llama3Frequency(f, rope));
  }
}

/** Divides low frequencies by the factor, keeps high ones, and blends between the two. */
function llama3Frequency(frequency: number, rope: Extract<Rope, { type: 'llama3' }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = rope;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalMaxPositions / lowFreqFactor) return frequency / factor;
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
  const smooth =
    (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}
