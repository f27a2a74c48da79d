// Estimates memory and work of a run on this machine from the sizes of the training graphs. The factors were measured; a test
// compares the estimates with measured peaks. Pure.
import type { DecoderConfig } from '../../src/model/config.ts';
import type { LossHeadSpec } from '../graph/loss-head-graph.ts';
import { type SavingForm, savedLimit } from '../step/saved-activations.ts';
import { weightBytes } from '../step/weight-memory.ts';
import type { Compute, TrainMethod } from '../types.ts';
import { sizeOfConfig } from './model-size.ts';

/** The size of a micro-batch. */
export interface BatchSize {
  /** Positions including padding. */
  readonly batchTokens: number;
  /** Positions of the longest row. */
  readonly length: number;
  /** Positions with a target. */
  readonly targets: number;
}

/** The head of a run: its number of tokens or classes, and whether it is trained. */
type PlannedLossHead = Pick<LossHeadSpec, 'size' | 'isTrained'>;

/** A run and its largest micro-batch. */
export interface EstimatedRun extends BatchSize, SavingForm {
  /** The number of trained parameters. */
  readonly trained: number;
  readonly head: PlannedLossHead;
  /** Values that an adapter keeps in addition to the trained ones: PiSSA's initial factors. Absent: none. */
  readonly kept?: number;
  /** Whether linears keep their outputs from before DoRA's factors. */
  readonly isDora?: boolean;
  /** The largest micro-batch of validation rows, if any. */
  readonly evaluation: BatchSize | undefined;
}

/** Bytes of a run at its peak. */
export interface RunMemory {
  readonly weights: number;
  readonly training: number;
  readonly activations: number;
  readonly runtime: number;
  readonly total: number;
}

const FLOAT = 4;
/** Node, ONNX Runtime and the graphs' sessions: 140 MB in the built program, 175 MB when running from source. */
const RUNTIME_BYTES = 150e6;
/** The tokenizer's bytes per token in the vocabulary. */
const TOKENIZER_BYTES = 2700;
/**
 * Rows per chunk of the loss head, and the number of live arrays of logits; one more for their gradient if an adapter trains
 * the head.
 */
const HEAD_ROWS = 256;
const HEAD_COPIES = 2;
const TRAINED_HEAD_COPIES = 3;
/** Live arrays of a block, by width: at the peak of its backward pass, and in an evaluation. */
const BACKWARD = { hidden: 8, ffn: 6, attention: 4 };
const EVALUATION = { hidden: 4, ffn: 4, attention: 2 };
/** Memory of each further block of a graph, as a share of the first block's. */
const FURTHER_BLOCK = 0.5;
/** Arrays that a block saves for its backward pass if it is not recomputed, not counting its attention weights. */
const SAVED_HIDDEN = 3.5;
const SAVED_FFN = 2;

/** Estimates the memory of a run. */
export function memoryOfRun(config: DecoderConfig, run: EstimatedRun): RunMemory {
  const { held, scratch } = weightBytes(config, run);
  const weights = held + scratch;
  // Value, gradient, two moments, and a copy of the value while the base is measured. In a full run, the weights are the
  // values.
  const training = FLOAT * run.trained * (run.method === 'full' ? 3 : 5);
  const kept = FLOAT * (run.kept ?? 0);
  const limit = savedLimit(config, run, 3 * FLOAT * run.trained);
  const activations = activationBytes(config, run, limit);
  const runtime = RUNTIME_BYTES + TOKENIZER_BYTES * config.vocabSize;
  const total = weights + training + kept + activations + runtime;
  return { weights, training: training + kept, activations, runtime, total };
}

/** The memory that a run can have. */
export interface RunLimit {
  /** Bytes of the run and its engine. */
  readonly memory: number;
  /** Bytes of the engine that samples for the run; 0 if none does. */
  readonly samplingEngineBytes: number;
}

/** The rest of a machine's memory is for its system, and for what an estimate misses. */
export const USABLE_SHARE = 0.9;

/**
 * Returns the run with as many kept activations as fit into its memory. A run that recomputes gives the same results with any
 * number of them, and takes up to a third longer with none.
 */
export function fitMemory<R extends EstimatedRun>(
  config: DecoderConfig,
  run: R,
  { memory, samplingEngineBytes }: RunLimit,
): R {
  const bare = memoryOfRun(config, { ...run, savedBytes: 0 }).total + samplingEngineBytes;
  return { ...run, savedBytes: Math.max(0, USABLE_SHARE * memory - bare) };
}

/** Bytes of the same run with settings that take more memory. */
export interface MoreMemory {
  /** LoRA on the base without quantization. Absent: the base is not quantized. */
  readonly unquantized?: number;
  /** Without computing activations twice. Absent: they are all kept already. */
  readonly withoutRecomputation?: number;
  readonly twiceTheRows: number;
}

/** @param bytesOf the bytes of a run */
export function moreMemory(run: EstimatedRun, bytesOf: (run: EstimatedRun) => number): MoreMemory {
  const { batchTokens, targets } = run;
  const kept = bytesOf({ ...run, recompute: false });
  return {
    ...(run.method === 'qlora' && { unquantized: bytesOf({ ...run, method: 'lora' }) }),
    ...(kept > bytesOf(run) && { withoutRecomputation: kept }),
    twiceTheRows: bytesOf({ ...run, batchTokens: 2 * batchTokens, targets: 2 * targets }),
  };
}

/** @param savedLimit bytes of activations that blocks may save for their backward pass */
function activationBytes(config: DecoderConfig, run: EstimatedRun, savedLimit: number): number {
  const { hiddenSize, intermediateSize, headCount, layerCount } = config;
  const { batchTokens, length, blocksPerSegment, head, evaluation = NO_BATCH } = run;
  const segments = Math.ceil(layerCount / blocksPerSegment);
  const between =
    (segments + 3) * batchTokens + 2 * Math.max(0, evaluation.batchTokens - batchTokens);
  const savedByBlock =
    SAVED_HIDDEN * hiddenSize +
    SAVED_FFN * intermediateSize +
    headCount * length +
    (run.isDora ? doraWidth(config) : 0);
  const savedBySegment = FLOAT * batchTokens * blocksPerSegment * savedByBlock;
  const savedSegments = Math.min(segments, Math.floor(savedLimit / savedBySegment));
  // Blocks, loss head and evaluation use the same arena, one after the other.
  const logits = Math.min(HEAD_ROWS, Math.max(run.targets, evaluation.targets)) * head.size;
  const further = FURTHER_BLOCK * (blocksPerSegment - 1);
  const arena = Math.max(
    (1 + further) * workingSet(config, run, BACKWARD),
    workingSet(config, evaluation, EVALUATION),
    logits * (head.isTrained ? TRAINED_HEAD_COPIES : HEAD_COPIES),
  );
  return FLOAT * (hiddenSize * between + arena) + savedSegments * savedBySegment;
}

/** The widths of q, k, v and of the last linear. Their outputs are saved only for DoRA. */
function doraWidth({ headCount, kvHeadCount, headDim, hiddenSize }: DecoderConfig): number {
  return (headCount + 2 * kvHeadCount) * headDim + hiddenSize;
}

/** The size of no batch. */
export const NO_BATCH: BatchSize = { batchTokens: 0, length: 0, targets: 0 };

/** Returns the number of live elements of a block. */
function workingSet(
  { hiddenSize, intermediateSize, headCount }: DecoderConfig,
  { batchTokens, length }: BatchSize,
  copies: typeof BACKWARD,
): number {
  const { hidden, ffn, attention } = copies;
  const perToken = hidden * hiddenSize + ffn * intermediateSize + attention * headCount * length;
  return batchTokens * perToken;
}

/** Counts the operations of training: forward, backward, and the recomputation of blocks. A multiply-add counts as two. */
export function flopsOfTraining(
  config: DecoderConfig,
  run: Pick<EstimatedRun, 'method' | 'recompute' | 'head'> & {
    /** Trained parameters of the blocks. */
    readonly trained: number;
  },
  counts: WorkCounts,
): number {
  const { linearWeights } = sizeOfConfig(config);
  const isFull = run.method === 'full';
  const perPass = 2 * (linearWeights + (isFull ? 0 : run.trained));
  const weightGradients = 2 * (isFull ? linearWeights : run.trained);
  const passes = run.recompute ? 3 : 2;
  const head = (isFull || run.head.isTrained ? 3 : 2) * headFlops(config, run.head);
  return counts.positions * (passes * perPass + weightGradients) + counts.targets * head;
}

/** Counts the operations of an evaluation. An adapter's products are negligible. */
export function flopsOfEvaluation(
  config: DecoderConfig,
  head: PlannedLossHead,
  counts: WorkCounts,
): number {
  const { linearWeights } = sizeOfConfig(config);
  return counts.positions * 2 * linearWeights + counts.targets * headFlops(config, head);
}

/**
 * Work per weight, as the number of operations that take equally long: unpacking NF4 (1.3 ms for 576 x 1536 weights) and
 * merging the adapter (2 ms for a block of 3.5 M weights), at 175 GFLOP/s. It is independent of the number of tokens. With
 * short rows it is a third of a step.
 */
const UNPACK_FLOPS = 260;
const MERGE_FLOPS = 100;

/**
 * Counts the work on weights. A training micro-batch takes two passes (forward and backward), an evaluation one. Weights in
 * per-token form need none.
 */
export function flopsOfWeights(
  config: DecoderConfig,
  { method, compute, passes }: { method: TrainMethod; compute: Compute; passes: number },
): { readonly merging: number; readonly unpacking: number } {
  const weights = compute === 'int8' ? 0 : passes * sizeOfConfig(config).linearWeights;
  return {
    merging: method === 'full' ? 0 : weights * MERGE_FLOPS,
    unpacking: method === 'qlora' ? weights * UNPACK_FLOPS : 0,
  };
}

interface WorkCounts {
  /** Positions including padding. */
  readonly positions: number;
  readonly targets: number;
}

function headFlops({ hiddenSize }: DecoderConfig, { size }: PlannedLossHead): number {
  return 2 * size * hiddenSize;
}
