// An adapter's weights in the engine's layout (PEFT's files are read by `peft.ts`).
import type { TargetName } from '../../src/model/target-modules.ts';

/** One linear's update: y += (x @ a) @ b. */
export interface LoraPair {
  readonly rank: number;
  /** [in, rank], row-major. */
  readonly a: Float32Array;
  /** [rank, out], row-major; the scaling alpha/r (or alpha/sqrt(r)) is folded in. */
  readonly b: Float32Array;
}

/** All layers of one adapter. Absent targets are not adapted. */
export interface AdapterWeights {
  /** SHA-256 over configuration and weights, hex: the adapter's identity. */
  readonly digest: string;
  /** The largest rank among its pairs. */
  readonly rank: number;
  /** The targets that occur in any layer. */
  readonly targets: readonly TargetName[];
  /** By layer, then by target. */
  readonly layers: readonly Readonly<Partial<Record<TargetName, LoraPair>>>[];
  readonly byteSize: number;
}
