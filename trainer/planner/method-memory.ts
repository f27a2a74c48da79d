// Estimates the memory of full training, LoRA and QLoRA from a model's size, as in the literature: 16-bit weights on an
// accelerator. Recommends settings by the memory of a run on this machine, which `run-estimate.ts` estimates.
import { DEFAULT_RANK } from '../../src/contracts/training-settings.ts';
import type { Compute } from '../types.ts';
import type { ModelSize } from './model-size.ts';
import { type MoreMemory, USABLE_SHARE } from './run-estimate.ts';

/** One line of a method's memory. */
interface MemoryLine {
  readonly what: string;
  readonly bytes: number;
}

/** The estimated memory of a training method, in bytes. */
interface MethodMemory {
  readonly method: 'full' | 'lora' | 'qlora';
  readonly lines: readonly MemoryLine[];
  readonly total: number;
  /** Says what the total leaves out. */
  readonly note: string;
}

/** NF4 codes and one fp32 scale per block of 64. Double quantization needs 4.127 bits. */
const NF4_BITS = 4.5;
/** Published figures for a small batch with activation checkpointing are close to this share of the 16-bit weights. */
const ACTIVATION_SHARE = 0.02;
const MIN_ACTIVATION_BYTES = 0.25e9;

/** Estimates the memory of each method. */
export function memoryByMethod(size: ModelSize, rank: number): MethodMemory[] {
  const { parameters, linearWeights } = size;
  const adapter = rank * size.loraPerRank;
  const adapterBytes = 16 * adapter; // fp32 value, gradient, two moments
  const activations = Math.max(MIN_ACTIVATION_BYTES, ACTIVATION_SHARE * 2 * parameters);
  const fp32Moments = 8 * parameters;
  const packed = (linearWeights * NF4_BITS) / 8;
  const unpacked = 2 * (parameters - linearWeights);
  return [
    method(
      'full',
      [
        ['weights, 16 bits', 2 * parameters],
        ['gradients, 16 bits', 2 * parameters],
        ['Adam, counted as one more 16-bit copy (two 8-bit moments)', 2 * parameters],
      ],
      `fp32 moments take ${gb(fp32Moments)} instead of ${gb(2 * parameters)}: ${gb(4 * parameters + fp32Moments)} in all; activations come on top`,
    ),
    method(
      'lora',
      [
        ['weights, 16 bits, frozen', 2 * parameters],
        [`adapter of rank ${rank} with gradients and Adam, fp32`, adapterBytes],
        ['activations, about', activations],
      ],
      'no gradients and no Adam for the base',
    ),
    method(
      'qlora',
      [
        [`linear weights, NF4 at ${NF4_BITS} bits`, packed],
        ['embedding and head, 16 bits', unpacked],
        [`adapter of rank ${rank} with gradients and Adam, fp32`, adapterBytes],
        ['activations, about', activations / 2],
      ],
      `the base alone takes ${gb(packed + unpacked)}; longer batches take more`,
    ),
  ];
}

function method(
  name: MethodMemory['method'],
  lines: readonly (readonly [string, number])[],
  note: string,
): MethodMemory {
  return {
    method: name,
    lines: lines.map(([what, bytes]) => ({ what, bytes })),
    total: lines.reduce((sum, [, bytes]) => sum + bytes, 0),
    note,
  };
}

/** Returns the number of weights that a low rank saves on the model's square matrices. */
export function matrixSaving(hidden: number, rank: number) {
  const weights = hidden * hidden;
  const trained = 2 * hidden * rank;
  return { weights, trained, factor: weights / trained };
}

/** The settings of a run that a plan chooses. */
export interface RunChoice {
  readonly method: 'lora' | 'qlora';
  readonly rank: number;
  readonly compute: Compute;
}

/** The recommended settings, and the bytes of a run with them on this machine. */
interface Recommendation extends RunChoice {
  readonly bytes: number;
  readonly reason: string;
}

/**
 * Returns the recommended arithmetic. Int8 takes half the time and changes an adapter less than another seed does (decision 17).
 * Full fine-tuning has no frozen weights to round.
 */
export function recommendCompute(method: MethodMemory['method']): Compute {
  return method === 'full' ? 'float32' : 'int8';
}

/** Bits that a LoRA parameter can store, and bits of information in a trained token ("LoRA Without Regret"). */
const BITS_PER_PARAMETER = 2;
const BITS_PER_TOKEN = 1;
const LARGEST_RANK = 64;

/** Recommends a method that fits, and a rank that can store the information in the rows. */
export function recommend(
  size: ModelSize,
  options: {
    memory: number;
    trainedTokens: number | undefined;
    /** Estimates the bytes of a run on this machine. */
    bytesOf: (choice: RunChoice) => number;
  },
): Recommendation {
  const { memory, trainedTokens, bytesOf } = options;
  const wanted = (BITS_PER_TOKEN * (trainedTokens ?? 0)) / (BITS_PER_PARAMETER * size.loraPerRank);
  const rank = Math.min(
    LARGEST_RANK,
    Math.max(DEFAULT_RANK, 2 ** Math.ceil(Math.log2(wanted || 1))),
  );
  const rows = trainedTokens === undefined ? 'small data teaches' : 'the rows teach';
  const byRank =
    wanted > DEFAULT_RANK
      ? `${trainedTokens} trained tokens need about rank ${Math.ceil(wanted)}`
      : `rank ${DEFAULT_RANK} on all linears can store more than ${rows}`;
  const estimate = (method: RunChoice['method']) => {
    const choice = { method, rank, compute: recommendCompute(method) };
    return { ...choice, bytes: bytesOf(choice) };
  };
  const [lora, qlora] = [estimate('lora'), estimate('qlora')];
  const usable = USABLE_SHARE * memory;
  if (lora.bytes <= usable / 4) {
    return {
      ...lora,
      reason: `takes about ${gb(lora.bytes)} of ${gb(memory)}: the base fits easily without quantization, so nothing is lost to it; ${byRank}`,
    };
  }
  const fits =
    qlora.bytes <= usable
      ? 'fits'
      : 'comes closest, but does not fit: use smaller batches, shorter rows or a smaller base';
  return {
    ...qlora,
    reason: `takes about ${gb(qlora.bytes)} of ${gb(memory)}, which ${fits}; LoRA on an unquantized base takes ${gb(lora.bytes)}; ${byRank}`,
  };
}

/** Says what more memory buys a run. */
export function moreText(more: MoreMemory): string {
  const { unquantized, withoutRecomputation, twiceTheRows } = more;
  const options: [bytes: number | undefined, what: string][] = [
    [withoutRecomputation, 'faster steps with --recompute false'],
    [twiceTheRows, 'twice the --batch-size'],
    [unquantized, 'LoRA on an unquantized base'],
  ];
  return options.flatMap(([bytes, what]) => (bytes ? `${what} (${gb(bytes)})` : [])).join(', ');
}

/** Formats a size in decimal gigabytes, as the literature does. */
export function gb(bytes: number): string {
  const value = bytes / 1e9;
  return `${value >= 100 ? Math.round(value) : value.toPrecision(2)} GB`;
}
