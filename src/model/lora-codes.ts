// The shapes of LoRA matrices with 8 bits and one scale per rank row, in the order in which our own operator reads them
// (`native/kernels.h`).
import { PACKED_BLOCK } from '../quant/row-int8.ts';
import type { DecoderConfig } from './config.ts';
import { type FusedLinear, fusedTargets, fusedWidth, TARGET_MODULES } from './target-modules.ts';

/** The operands of a fused linear's updates. */
export type LoraCodes = 'codesA' | 'scales' | 'codesB';

/** Returns the shapes of one slot's operands, for all targets of a fused linear. */
export function codeShapes(
  config: DecoderConfig,
  fused: FusedLinear,
  rank: number,
): Readonly<Record<LoraCodes, readonly number[]>> {
  const targets = fusedTargets(config, fused);
  const rankRows = rank * targets.length;
  const { outputs } = PACKED_BLOCK;
  return {
    codesA: [rankRows, TARGET_MODULES[targets[0]!].inFeatures(config)],
    scales: [rankRows],
    codesB: [fusedWidth(config, fused) / outputs, rank, outputs],
  };
}
