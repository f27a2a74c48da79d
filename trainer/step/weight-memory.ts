// Computes the memory of a base's weights in a run. Pure.
import type { DecoderConfig } from '../../src/model/config.ts';
import { sizeOfConfig } from '../planner/model-size.ts';
import type { Compute, TrainMethod } from '../types.ts';

/** The settings that decide how a run holds the weights. */
export interface WeightForm {
  readonly method: TrainMethod;
  readonly compute: Compute;
  readonly blocksPerSegment: number;
}

/** Bytes of the weights, and of the buffers for two segments' unpacked linears. */
interface WeightBytes {
  readonly held: number;
  readonly scratch: number;
}

export const FLOAT = Float32Array.BYTES_PER_ELEMENT;
/** Bytes per weight: NF4 codes, and one float32 scale per 64 weights. */
const PACKED = 4.5 / 8;
/** The linears of the current and the next segment are unpacked. */
const SCRATCHES = 2;

/**
 * Returns the bytes of a base's weights. The per-token scales are too few to count, and an embedding that is only looked up stays
 * on the disk.
 */
export function weightBytes(config: DecoderConfig, form: WeightForm): WeightBytes {
  const { method, compute, blocksPerSegment } = form;
  const { parameters, linearWeights: linears, layers } = sizeOfConfig(config);
  if (method === 'full') return { held: FLOAT * parameters, scratch: 0 };
  const table = config.vocabSize * config.hiddenSize;
  const rest = FLOAT * (parameters - linears - (config.tiedEmbeddings ? 0 : table));
  if (compute === 'int8') return { held: rest + linears + table, scratch: 0 };
  if (method === 'lora') return { held: rest + FLOAT * linears, scratch: 0 };
  return {
    held: rest + PACKED * linears,
    scratch: SCRATCHES * FLOAT * (linears / layers) * blocksPerSegment,
  };
}
