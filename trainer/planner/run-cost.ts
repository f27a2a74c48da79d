// Memory and work of a run on this machine, by what the training graphs hold and multiply. Pure; the factors were
// measured and are checked against measured peaks.
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { elementCount } from '../../src/tensor.ts';
import { KEPT_SHARE } from '../step/kept-values.ts';
import type { TrainMethod } from '../types.ts';
import { sizeOfConfig } from './model-size.ts';

export interface RunShape {
  readonly method: TrainMethod;
  /** Parameters that are trained. */
  readonly trained: number;
  /** Positions of the largest micro-batch, padding included. */
  readonly batchTokens: number;
  /** Positions of its longest row. */
  readonly length: number;
  /** Of these, the ones with a target. */
  readonly targets: number;
  readonly recompute: boolean;
  readonly blocksPerSegment: number;
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
/** Arrays that are alive at the peak of a block's backward pass, by their width. */
const HIDDEN_COPIES = 8;
const FFN_COPIES = 6;
const ATTENTION_COPIES = 4;
/** What a further block of the same graph adds, as a share of the first. */
const FURTHER_BLOCK = 0.65;
/** Arrays that a block keeps for its backward pass where it is not recomputed, and its attention weights. */
const KEPT_HIDDEN = 3.5;
const KEPT_FFN = 2;

export function memoryOfRun(config: DecoderConfig, run: RunShape): RunMemory {
  const { hiddenSize, intermediateSize, headCount, vocabSize, layerCount } = config;
  const { linearWeights, layers } = sizeOfConfig(config);
  const all = [...expectedTensors(config).values()].reduce(
    (n, shape) => n + elementCount(shape),
    0,
  );
  const isPacked = run.method === 'qlora';
  const unpacked = (FLOAT * linearWeights * run.blocksPerSegment) / layers;
  const held = isPacked ? FLOAT * (all - linearWeights) + (4.5 / 8) * linearWeights : FLOAT * all;
  const weights = held + (isPacked ? unpacked : 0);
  // Value (a full run's are the weights), gradient, two moments.
  const training = FLOAT * run.trained * (run.method === 'full' ? 3 : 4);
  const segments = Math.ceil(layerCount / run.blocksPerSegment);
  const block =
    HIDDEN_COPIES * hiddenSize +
    FFN_COPIES * intermediateSize +
    ATTENTION_COPIES * headCount * run.length;
  const working = run.batchTokens * (1 + FURTHER_BLOCK * (run.blocksPerSegment - 1)) * block;
  const head = HEAD_COPIES * Math.min(HEAD_ROWS, run.targets) * vocabSize;
  const between = run.batchTokens * (segments + 3) * hiddenSize;
  const keptOfBlock =
    KEPT_HIDDEN * hiddenSize + KEPT_FFN * intermediateSize + headCount * run.length;
  const keptOfAll = FLOAT * run.batchTokens * layerCount * keptOfBlock;
  const limit = KEPT_SHARE * (held + 3 * FLOAT * run.trained);
  const kept = run.recompute ? Math.min(limit, keptOfAll) : keptOfAll;
  // Blocks and head take turns in one arena.
  const activations = FLOAT * (between + Math.max(working, head)) + kept;
  const runtime = RUNTIME_BYTES + TOKENIZER_BYTES * vocabSize;
  const total = weights + training + activations + runtime;
  return { weights, training, activations, runtime, total };
}

/** Multiply-adds count as two. Forward, backward through activations, and forward again where recomputed. */
export function flopsOfTokens(
  config: DecoderConfig,
  run: Pick<RunShape, 'method' | 'recompute' | 'trained'>,
  counts: { tokens: number; targets: number },
): number {
  const { linearWeights } = sizeOfConfig(config);
  const perPass = 2 * (linearWeights + (run.method === 'full' ? 0 : run.trained));
  const weightGradients = 2 * (run.method === 'full' ? linearWeights : run.trained);
  const passes = run.recompute ? 3 : 2;
  const head = 2 * config.vocabSize * config.hiddenSize * (run.method === 'full' ? 3 : 2);
  return counts.tokens * (passes * perPass + weightGradients) + counts.targets * head;
}
