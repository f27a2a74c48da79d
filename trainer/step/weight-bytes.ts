// The memory of a base's weights in a run. Pure.
import { elementCount } from '../../src/common/tensor.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/names.ts';
import { TARGET_MODULES, targetNames } from '../../src/model/target-modules.ts';
import type { Compute } from '../types.ts';

/** The properties of a run that decide how its weights are held. */
export interface WeightForm {
  /** Whether the artifact's linears are NF4. */
  readonly isPacked: boolean;
  readonly compute: Compute;
  readonly blocksPerSegment: number;
}

/** Bytes of the weights, and of the buffers with the unpacked linears of two segments. */
export interface WeightBytes {
  readonly held: number;
  readonly scratch: number;
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;
/** NF4 codes and one float32 scale per block of 64, for each weight. */
const PACKED = 4.5 / 8;
/** The current and the next segment have unpacked linears. */
const SCRATCHES = 2;

/** Returns the bytes of a base's weights. The scales of the row form are too few to count. */
export function weightBytes(config: DecoderConfig, form: WeightForm): WeightBytes {
  const { isPacked, compute, blocksPerSegment } = form;
  const parameters = sum([...expectedTensors(config).values()].map(elementCount));
  const block = sum(
    targetNames(config).map((name) => {
      const { inFeatures, outFeatures } = TARGET_MODULES[name];
      return inFeatures(config) * outFeatures(config);
    }),
  );
  const linears = config.layerCount * block;
  const rest = FLOAT * (parameters - linears);
  if (compute === 'int8') {
    return { held: rest + linears + config.vocabSize * config.hiddenSize, scratch: 0 };
  }
  if (!isPacked) return { held: FLOAT * parameters, scratch: 0 };
  return { held: rest + PACKED * linears, scratch: SCRATCHES * FLOAT * block * blocksPerSegment };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
