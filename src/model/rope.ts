// Rotary embeddings: the kinds of frequencies, and tables of cosines and sines. Computed as in transformers, in float32 at each
// step. Source: transformers `modeling_rope_utils.py`.
import { FileError } from '../common/errors.ts';
import type { RopeJson } from './config-json.ts';

/** A rotary embedding. */
export interface Rope {
  /** float32 [rotary channels / 2]: radians per position. */
  readonly frequencies: Float32Array;
  /** The frequencies for contexts longer than `upTo` positions. */
  readonly long?: { readonly upTo: number; readonly frequencies: Float32Array };
  /** Multiplies cosines and sines. */
  readonly magnitude: number;
}

/** The properties of the model that a rotary embedding depends on. */
interface RopeContext {
  readonly theta: number;
  /** The number of rotated channels per head. */
  readonly rotaryDim: number;
  readonly maxPositions: number;
  /** The context length of the model's pretraining, which some kinds of scaling refer to. */
  readonly originalMaxPositions: number;
}

interface RopeKind {
  /** For the documentation. */
  readonly about: string;
  create(unscaled: Float32Array, parameters: RopeJson, context: RopeContext): Partial<Rope>;
}

/** The kinds by `rope_type`. */
export const ROPE_KINDS = {
  default: { about: 'θ^(-2i/d)', create: () => ({}) },
  linear: {
    about: 'all frequencies divided by `factor`',
    create: (unscaled, parameters) => ({ frequencies: divided(unscaled, parameters) }),
  },
  dynamic: {
    about:
      'scaled only beyond `max_position_embeddings`. No context is longer, so it is the same as `default`',
    create: () => ({}),
  },
  llama3: {
    about: 'low frequencies divided by `factor`, high ones kept, and a blend between them',
    create: (unscaled, parameters, context) => ({
      frequencies: unscaled.map(llama3Frequency(parameters, context)),
    }),
  },
  yarn: {
    about: 'as `llama3`, with a ramp over the channels, and larger cosines and sines',
    create: yarn,
  },
  longrope: {
    about:
      'a factor for each frequency: `short_factor`, or `long_factor` if `--max-seq` exceeds `original_max_position_embeddings`',
    create: longRope,
  },
} as const satisfies Record<string, RopeKind>;

/** Names in older configs. */
const ALIASES: Readonly<Record<string, string>> = { su: 'longrope' };

/** Creates a rotary embedding from its parameters. Throws `FileError` naming the parameter at fault. */
export function createRope(parameters: RopeJson, context: RopeContext): Rope {
  const name = parameters.rope_type ?? parameters.type ?? 'default';
  const type = ALIASES[name] ?? name;
  if (!Object.hasOwn(ROPE_KINDS, type)) {
    const known = Object.keys(ROPE_KINDS).join(', ');
    throw new FileError(
      'rope_scaling.rope_type',
      `"${name}" is not supported (supported: ${known})`,
    );
  }
  const { theta, rotaryDim } = context;
  const frequencies = Float32Array.from(
    { length: rotaryDim / 2 },
    (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / rotaryDim)),
  );
  const kind: RopeKind = ROPE_KINDS[type as keyof typeof ROPE_KINDS];
  return { frequencies, magnitude: 1, ...kind.create(frequencies, parameters, context) };
}

/**
 * Returns the cosines and sines of position * frequency, each [positions, rotary channels / 2] in row-major order. `positions`
 * is the length of the context.
 */
export function ropeTables(
  rope: Rope,
  positions: number,
): { cos: Float32Array<ArrayBuffer>; sin: Float32Array<ArrayBuffer> } {
  const frequencies = isLong(rope, positions) ? rope.long!.frequencies : rope.frequencies;
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * frequencies[i]!);
      cos[position * half + i] = Math.cos(angle) * rope.magnitude;
      sin[position * half + i] = Math.sin(angle) * rope.magnitude;
    }
  }
  return { cos, sin };
}

/** Whether a context of this many positions uses the long frequencies. */
export function isLong({ long }: Rope, positions: number): boolean {
  return long !== undefined && positions > long.upTo;
}

type NumberKey = 'factor' | 'low_freq_factor' | 'high_freq_factor';

function need(parameters: RopeJson, key: NumberKey): number {
  const value = parameters[key];
  if (value == null) throw new FileError(`rope_scaling.${key}`, 'is missing');
  return value;
}

function divided(frequencies: Float32Array, parameters: RopeJson): Float32Array {
  const factor = need(parameters, 'factor');
  return frequencies.map((frequency) => frequency / factor);
}

function llama3Frequency(parameters: RopeJson, { originalMaxPositions }: RopeContext) {
  const factor = need(parameters, 'factor');
  const lowest = need(parameters, 'low_freq_factor');
  const highest = need(parameters, 'high_freq_factor');
  if (highest <= lowest)
    throw new FileError('rope_scaling.high_freq_factor', 'must be above low_freq_factor');
  return (frequency: number): number => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength > originalMaxPositions / lowest) return frequency / factor;
    if (wavelength < originalMaxPositions / highest) return frequency;
    const smooth = (originalMaxPositions / wavelength - lowest) / (highest - lowest);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  };
}

/** The numbers of rotations within the original context at which the ramp starts and ends. */
const BETA_FAST = 32;
const BETA_SLOW = 1;

/** Blends each frequency with the divided one. The ramp runs over the channel pairs i. */
function yarn(unscaled: Float32Array, parameters: RopeJson, context: RopeContext): Partial<Rope> {
  const { theta, rotaryDim, maxPositions, originalMaxPositions } = context;
  const factor = parameters.factor ?? maxPositions / originalMaxPositions;
  const channelOf = (rotations: number) =>
    (rotaryDim * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) /
    (2 * Math.log(theta));
  const isWhole = parameters.truncate ?? true;
  const first = channelOf(parameters.beta_fast ?? BETA_FAST);
  const last = channelOf(parameters.beta_slow ?? BETA_SLOW);
  const low = Math.max(isWhole ? Math.floor(first) : first, 0);
  const high = Math.min(isWhole ? Math.ceil(last) : last, rotaryDim - 1);
  const width = high === low ? 0.001 : high - low;
  const frequencies = unscaled.map((frequency, i) => {
    const ramp = Math.min(Math.max((i - low) / width, 0), 1);
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
  return {
    frequencies,
    magnitude: parameters.attention_factor ?? yarnMagnitude(factor, parameters),
  };
}

function yarnMagnitude(factor: number, { mscale, mscale_all_dim }: RopeJson): number {
  const magnitude = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscale_all_dim ? magnitude(mscale) / magnitude(mscale_all_dim) : magnitude(1);
}

function longRope(
  unscaled: Float32Array,
  parameters: RopeJson,
  { maxPositions, originalMaxPositions }: RopeContext,
): Partial<Rope> {
  const dividedBy = (key: 'short_factor' | 'long_factor') => {
    const factors = parameters[key];
    if (factors?.length !== unscaled.length) {
      throw new FileError(`rope_scaling.${key}`, `does not have ${unscaled.length} numbers`);
    }
    return unscaled.map((frequency, i) => frequency / factors[i]!);
  };
  const factor = parameters.factor ?? maxPositions / originalMaxPositions;
  const magnitude =
    factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
  return {
    frequencies: dividedBy('short_factor'),
    long: { upTo: originalMaxPositions, frequencies: dividedBy('long_factor') },
    magnitude: parameters.attention_factor ?? magnitude,
  };
}
