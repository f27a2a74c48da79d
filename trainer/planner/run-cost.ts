// Memory and work of a run on this machine, by what the training graphs hold and multiply. Pure; the factors were
// measured and are checked against measured peaks.
import type { DecoderConfig } from '../../src/model/config.ts';
import { SAVED_SHARE } from '../step/saved-activations.ts';
import type { TrainMethod } from '../types.ts';
import { sizeOfConfig } from './model-size.ts';

/** A micro-batch. */
export interface BatchSize {
  /** Positions, padding included. */
  readonly batchTokens: number;
  /** Positions of its longest row. */
  readonly length: number;
  /** Of these, the ones with a target. */
  readonly targets: number;
}

/** A run and its largest micro-batch. */
export interface RunShape extends BatchSize {
  readonly method: TrainMethod;
  /** Parameters that are trained. */
  readonly trained: number;
  readonly recompute: boolean;
  readonly blocksPerSegment: number;
  /** The largest micro-batch of validation rows, where there are any. */
  readonly evaluation: BatchSize | undefined;
}

export interface RunMemory {
  readonly weights: number;
  readonly training: number;
  readonly activations: number;
  readonly runtime: number;
  readonly total: number;
}

const FLOAT = 4;
/** Node, ONNX Runtime and the graphs' sessions. */
const RUNTIME_BYTES = 175e6;
/** What the tokenizer keeps per token of the vocabulary. */
const TOKENIZER_BYTES = 2700;
/** Rows of the loss head's chunk, and how many arrays of logits are alive in one. */
const HEAD_ROWS = 256;
const HEAD_COPIES = 2;
/** Arrays that are alive at once inside a block, by their width: at the peak of its backward pass, and in an evaluation. */
const BACKWARD = { hidden: 8, ffn: 6, attention: 4 };
const EVALUATION = { hidden: 4, ffn: 4, attention: 2 };
/** What a further block of the same graph adds, as a share of the first. */
const FURTHER_BLOCK = 0.5;
/** Unpacked linears: of the segment at work and of the next one. */
const SCRATCHES = 2;
/** Arrays that a block keeps for its backward pass where it is not recomputed, and its attention weights. */
const KEPT_HIDDEN = 3.5;
const KEPT_FFN = 2;

export function memoryOfRun(config: DecoderConfig, run: RunShape): RunMemory {
  const { linearWeights, parameters, layers } = sizeOfConfig(config);
  const isPacked = run.method === 'qlora';
  const held = isPacked
    ? FLOAT * (parameters - linearWeights) + (4.5 / 8) * linearWeights
    : FLOAT * parameters;
  const unpacked = isPacked ? (FLOAT * linearWeights * run.blocksPerSegment) / layers : 0;
  const weights = held + SCRATCHES * unpacked;
  // Value (a full run's are the weights), gradient, two moments.
  const training = FLOAT * run.trained * (run.method === 'full' ? 3 : 4);
  const limit = run.recompute
    ? SAVED_SHARE * (held + 3 * FLOAT * run.trained)
    : Number.POSITIVE_INFINITY;
  const activations = activationBytes(config, run, limit);
  const runtime = RUNTIME_BYTES + TOKENIZER_BYTES * config.vocabSize;
  const total = weights + training + activations + runtime;
  return { weights, training, activations, runtime, total };
}

/** @param keptLimit bytes that blocks may keep for their backward pass */
function activationBytes(config: DecoderConfig, run: RunShape, keptLimit: number): number {
  const { hiddenSize, intermediateSize, headCount, layerCount } = config;
  const { batchTokens, length, blocksPerSegment, evaluation = NO_BATCH } = run;
  const segments = Math.ceil(layerCount / blocksPerSegment);
  const between =
    (segments + 3) * batchTokens + 2 * Math.max(0, evaluation.batchTokens - batchTokens);
  const keptOfBlock = KEPT_HIDDEN * hiddenSize + KEPT_FFN * intermediateSize + headCount * length;
  const keptOfSegment = FLOAT * batchTokens * blocksPerSegment * keptOfBlock;
  const keptSegments = Math.min(segments, Math.floor(keptLimit / keptOfSegment));
  // Blocks, head and evaluation take turns in one arena.
  const further = FURTHER_BLOCK * (blocksPerSegment - 1);
  const arena = Math.max(
    (1 + further) * workingSet(config, run, BACKWARD),
    workingSet(config, evaluation, EVALUATION),
    HEAD_COPIES * Math.min(HEAD_ROWS, Math.max(run.targets, evaluation.targets)) * config.vocabSize,
  );
  return FLOAT * (hiddenSize * between + arena) + keptSegments * keptOfSegment;
}

const NO_BATCH: BatchSize = { batchTokens: 0, length: 0, targets: 0 };

/** Elements that a block has alive at once. */
function workingSet(
  { hiddenSize, intermediateSize, headCount }: DecoderConfig,
  { batchTokens, length }: BatchSize,
  copies: typeof BACKWARD,
): number {
  const { hidden, ffn, attention } = copies;
  const perToken = hidden * hiddenSize + ffn * intermediateSize + attention * headCount * length;
  return batchTokens * perToken;
}

/** Multiply-adds count as two. Forward, backward through activations, and forward again where recomputed. */
export function flopsOfTraining(
  config: DecoderConfig,
  run: Pick<RunShape, 'method' | 'recompute' | 'trained'>,
  counts: WorkCounts,
): number {
  const { linearWeights } = sizeOfConfig(config);
  const perPass = 2 * (linearWeights + (run.method === 'full' ? 0 : run.trained));
  const weightGradients = 2 * (run.method === 'full' ? linearWeights : run.trained);
  const passes = run.recompute ? 3 : 2;
  const head = (run.method === 'full' ? 3 : 2) * headFlops(config);
  return counts.positions * (passes * perPass + weightGradients) + counts.targets * head;
}

/** Forward only; an adapter's own products hardly count. */
export function flopsOfEvaluation(config: DecoderConfig, counts: WorkCounts): number {
  const { linearWeights } = sizeOfConfig(config);
  return counts.positions * 2 * linearWeights + counts.targets * headFlops(config);
}

/**
 * Work on the weights themselves, as multiply-adds that take as long: unpacking NF4 (1.3 ms for 576 x 1536) and merging
 * the adapter (2 ms a block of 3.5 M weights), at 175 GFLOP/s. It does not depend on tokens: with short rows it is a
 * third of a step.
 */
const UNPACK_FLOPS = 260;
const MERGE_FLOPS = 100;

/** Passes over all linear weights: two for a training micro-batch (forward, backward), one for an evaluated one. */
export function flopsOfWeights(
  config: DecoderConfig,
  { method, passes }: { method: TrainMethod; passes: number },
): { readonly merging: number; readonly unpacking: number } {
  const weights = passes * sizeOfConfig(config).linearWeights;
  return {
    merging: method === 'full' ? 0 : weights * MERGE_FLOPS,
    unpacking: method === 'qlora' ? weights * UNPACK_FLOPS : 0,
  };
}

interface WorkCounts {
  /** Padding included. */
  readonly positions: number;
  readonly targets: number;
}

function headFlops({ vocabSize, hiddenSize }: DecoderConfig): number {
  return 2 * vocabSize * hiddenSize;
}
