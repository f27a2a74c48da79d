// An adapter for the run before the first request: it has the common shape, and its weights do not matter.
import type { AdapterWeights, LoraPair } from '../../../adapters/peft/weights.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { TARGET_MODULES, type TargetName, targetNames } from '../../model/target-modules.ts';
import { NO_VOCABULARY_CHANGES } from '../../model/vocabulary-changes.ts';

/** peft's default. */
const RANK = 8;

/** Returns an adapter of zeros on all linears. Its layers share their memory. */
export function adapterOfZeros(config: DecoderConfig): AdapterWeights {
  const targets = targetNames(config);
  const pair = (target: TargetName): LoraPair => ({
    rank: RANK,
    a: new Float32Array(RANK * TARGET_MODULES[target].inFeatures(config)),
    b: new Float32Array(RANK * TARGET_MODULES[target].outFeatures(config)),
  });
  const pairs = Object.fromEntries(targets.map((target) => [target, pair(target)]));
  return {
    ...{ digest: 'zeros', rank: RANK, targets, parts: [], byteSize: 0 },
    layers: Array.from({ length: config.layerCount }, () => pairs),
    vectors: new Map(),
    vocabulary: NO_VOCABULARY_CHANGES,
    invocation: undefined,
    classifier: undefined,
  };
}
