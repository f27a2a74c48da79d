// Refuses passes that need more memory than a server leaves to its trainers. Beyond it, the kernel would kill the trainer with
// all its models, or the engine next to it.
import { ServeError } from '../../src/common/errors.ts';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { largest } from '../../src/common/long-arrays.ts';
import { elementCount } from '../../src/common/tensor.ts';
import type { TokenDatum } from '../../src/contracts/training-service.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { adapterTensors } from '../adapter/tensors.ts';
import { lossHeadOf } from '../graph/loss-head-graph.ts';
import type { AdapterPlan } from '../job/adapter-plan.ts';
import { type EstimatedRun, memoryOfRun, NO_BATCH } from '../planner/run-estimate.ts';

/** How a trainer computes the passes of all models, and its memory. */
export interface PassMemory
  extends Pick<EstimatedRun, 'method' | 'recompute' | 'compute' | 'blocksPerSegment'> {
  /** The most bytes of the trainer. Undefined: no limit. */
  readonly memory: number | undefined;
}

/**
 * @throws ServeError (400) if a pass over a micro-batch, or without sequences the model itself, does not fit. A pass that is
 *   forward only keeps nothing for gradients.
 */
export function checkMemory(
  { lora }: Pick<AdapterPlan, 'lora'>,
  { data, isForwardOnly }: { data: readonly TokenDatum[]; isForwardOnly: boolean },
  { config, memory = Number.POSITIVE_INFINITY, ...run }: PassMemory & { config: DecoderConfig },
): void {
  const length = Math.max(0, largest(data.map(({ inputIds }) => inputIds.length)));
  const trained = adapterTensors(config, lora).reduce(
    (sum, row) => sum + elementCount(row.shape),
    0,
  );
  const tokens = data.length * length;
  const batch = { batchTokens: tokens, length, targets: tokens };
  const { total } = memoryOfRun(config, {
    ...run,
    trained,
    head: lossHeadOf(config, run.compute, lora),
    ...(isForwardOnly ? NO_BATCH : batch),
    evaluation: isForwardOnly ? batch : undefined,
  });
  if (total <= memory) return;
  const [needed, left] = [total, memory].map(formatFileSize);
  const cure = data.length > 0 ? 'Send shorter sequences, or use a lower rank' : 'Use a lower rank';
  throw new ServeError(
    'invalid_request',
    `Training takes about ${needed}, and the server leaves ${left} to it. ${cure}; operators can raise --train-memory.`,
  );
}
