// The size of the engine that samples for a run: it holds one step, and nothing that only a server needs. Pure.
import { elementCount } from '../../src/common/tensor.ts';
import { BLOCK_TOKENS } from '../../src/contracts/engine.ts';
import { asksModels, graderSchema } from '../../src/graders/schema.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { adapterTensors } from '../adapter/tensors.ts';
import type { PreparedRun } from '../job/prepare-run.ts';
import { askedModels } from '../rewards.ts';

/** The contents of the engine. */
export interface SamplingEngineSize {
  /** Sequences that run together. */
  readonly slots: number;
  readonly maxSeqLength: number;
  /** Tokens of a step's prompts. The completions of a prompt share its keys and values. */
  readonly promptTokens: number;
  /** Bytes of one adapter. */
  readonly adapterBytes: number;
  /** Adapters in memory at the same time. */
  readonly adapters: number;
}

/** As many sequences as a request may have in a server's engine. Each slot takes memory for its full length. */
const MAX_SLOTS = 64;
/** A question with an output of 512 tokens, a rubric, and an answer with its steps. */
const QUESTION_LENGTH = 2048;
const FLOAT = 4;

/** Returns the size for a run that learns from rewards. */
export function samplingEngineSize(
  { train, validation, settings, sampling, adapter, job }: PreparedRun,
  config: DecoderConfig,
): SamplingEngineSize | undefined {
  if (!sampling || !adapter) return undefined;
  const { batchSize, gradAccumulation, maxLength } = settings.order;
  const prompts = Math.min(batchSize * gradAccumulation, train.examples.length);
  const lengths = [...train.examples, ...(validation?.examples ?? [])].map(({ ids }) => ids.length);
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
  const asks = asksModels(graderSchema.parse(job.grader));
  const questionLength = asks ? Math.min(QUESTION_LENGTH, config.maxPositions) : 0;
  const values = adapterTensors(config, adapter.lora).map(({ shape }) => elementCount(shape));
  return {
    slots: Math.min(prompts * sampling.completions, MAX_SLOTS),
    maxSeqLength: Math.max(
      questionLength,
      Math.min(longest + sampling.completionLength, maxLength),
    ),
    promptTokens: prompts * (longest + BLOCK_TOKENS),
    adapterBytes: FLOAT * values.reduce((sum, count) => sum + count, 0),
    // The adapter in training, and for a moment its predecessor.
    adapters: 2 + askedModels(job).length,
  };
}
