// Computes the memory of a base's weights in a run. Pure.
import type { DecoderConfig } from '../../src/model/config.ts';
import { sizeOfConfig } from '../planner/model-size.ts';
import type { Compute } from '../types.ts';

/** The settings that decide how a run holds the weights. */
export interface WeightForm {
  /** Whether the artifact's linears are NF4. */
  readonly isPacked: boolean;
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

/** Returns the bytes of a base's weights. The per-token scales are too few to count. */
export function weightBytes(config: DecoderConfig, form: WeightForm): WeightBytes {
  const { isPacked, compute, blocksPerSegment } = form;
  const { parameters, linearWeights: linears, layers } = sizeOfConfig(config);
  const rest = FLOAT * (parameters - linears);
  if (compute === 'int8') {
    return { held: rest + linears + config.vocabSize * config.hiddenSize, scratch: 0 };
  }
  if (!isPacked) return { held: FLOAT * parameters, scratch: 0 };
  return {
    held: rest + PACKED * linears,
    scratch: SCRATCHES * FLOAT * (linears / layers) * blocksPerSegment,
  };
}
