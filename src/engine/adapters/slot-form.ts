// The form of adapter slots: one rank and one set of linears for all of them, and the operands that follow. Knows no
// memory and no adapter's values.
import type { AdapterWeights } from '../../../adapters/peft/weights.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../../model/lora-graph.ts';
import {
  FUSED_LINEAR_NAMES,
  type FusedLinear,
  loraPerRank,
  TARGET_MODULES,
  TARGET_NAMES,
  type TargetName,
} from '../../model/target-modules.ts';

/** Identifies an operand: the shared A of a fused linear, or the B of a target. */
export interface OperandId {
  readonly layer: number;
  readonly of: { readonly a: FusedLinear } | { readonly b: TargetName };
}

/** An operand of one slot: A [1, in, R * k], or B [1, R, out]. A product broadcasts it over the first dimension. */
export interface SlotOperand extends OperandId {
  readonly shape: readonly [1, number, number];
}

/** The rank R of every slot, and the linears that it covers. */
export interface SlotForm {
  readonly rank: number;
  readonly targets: readonly TargetName[];
}

const SMALLEST_RANK = 4;

/** The sets of linears that an adapter graph can cover. They are few, which bounds the number of sessions. */
const TARGET_PROFILES: readonly (readonly TargetName[])[] = [
  ['q_proj', 'v_proj'],
  ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
  TARGET_NAMES,
];

/** The smallest profile with all these linears. An adapter has zeros for the linears it does not adapt. */
export function coveringTargets(targets: readonly TargetName[]): readonly TargetName[] {
  return TARGET_PROFILES.find((profile) => targets.every((target) => profile.includes(target)))!;
}

/** The smallest form for these adapters. */
export function formOf(adapters: readonly Pick<AdapterWeights, 'rank' | 'targets'>[]): SlotForm {
  return {
    rank: rankBucket(Math.max(...adapters.map(({ rank }) => rank))),
    targets: coveringTargets(adapters.flatMap(({ targets }) => targets)),
  };
}

/** Whether two forms are equal. Comparing lengths is enough, because profiles differ in length. */
export function isSameForm(a: SlotForm, b: SlotForm): boolean {
  return a.rank === b.rank && a.targets.length === b.targets.length;
}

/** The operands of one slot: the A of each adapted fused linear, and the B of each of its k targets. */
export function* slotOperands(
  config: DecoderConfig,
  { rank, targets }: SlotForm,
): Generator<SlotOperand> {
  const layout: LoraLayout = { kind: 'grouped', targets };
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const fused of FUSED_LINEAR_NAMES) {
      const adapted = adaptedTargets(layout, fused);
      if (adapted.length === 0) continue;
      const inFeatures = TARGET_MODULES[adapted[0]!].inFeatures(config);
      yield { layer, of: { a: fused }, shape: [1, inFeatures, rank * adapted.length] };
      for (const target of adapted) {
        const outFeatures = TARGET_MODULES[target].outFeatures(config);
        yield { layer, of: { b: target }, shape: [1, rank, outFeatures] };
      }
    }
  }
}

/** The float32 bytes of one slot. */
export function slotBytes(config: DecoderConfig, { rank, targets }: SlotForm): number {
  return 4 * rank * loraPerRank(config, targets);
}

/**
 * Rounds up to a power of two, so that adapters of similar rank share operands and a new rank seldom needs new ones.
 */
function rankBucket(rank: number): number {
  return Math.max(SMALLEST_RANK, 2 ** Math.ceil(Math.log2(rank)));
}
