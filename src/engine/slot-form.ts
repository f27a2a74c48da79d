// How wide an adapter slot is: one rank and one set of linears for all slots, and the operands that follow from them.
// Knows no memory and no adapter's values.
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { elementCount } from '../common/tensor.ts';
import type { DecoderConfig } from '../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../model/lora-graph.ts';
import { SITE_NAMES, type Site, TARGET_MODULES, type TargetName } from '../model/target-modules.ts';
import { coveringTargets } from './lora-profiles.ts';

/** Which operand: a site's fused A, or a target's B. */
export interface OperandId {
  readonly layer: number;
  readonly of: { readonly a: Site } | { readonly b: TargetName };
}

/** How wide each slot is: rank R, and the linears that it covers. */
export interface SlotForm {
  readonly rank: number;
  readonly targets: readonly TargetName[];
}

const SMALLEST_RANK = 4;

/** The smallest form for these adapters. */
export function formOf(adapters: readonly Pick<AdapterWeights, 'rank' | 'targets'>[]): SlotForm {
  return {
    rank: rankBucket(Math.max(...adapters.map(({ rank }) => rank))),
    targets: coveringTargets(adapters.flatMap(({ targets }) => targets)),
  };
}

/** Targets are one of few profiles, each of another length. */
export function isSameForm(a: SlotForm, b: SlotForm): boolean {
  return a.rank === b.rank && a.targets.length === b.targets.length;
}

/** The operands of one slot: A [in, R * k] of each adapted site, B [R, out] of each of its k targets. */
export function* slotShapes(
  config: DecoderConfig,
  { rank, targets }: SlotForm,
): Generator<OperandId & { shape: readonly [number, number] }> {
  const layout: LoraLayout = { kind: 'grouped', targets };
  for (let layer = 0; layer < config.layerCount; layer++) {
    for (const site of SITE_NAMES) {
      const adapted = adaptedTargets(layout, site);
      if (adapted.length === 0) continue;
      const inFeatures = TARGET_MODULES[adapted[0]!].inFeatures(config);
      yield { layer, of: { a: site }, shape: [inFeatures, rank * adapted.length] };
      for (const target of adapted) {
        const outFeatures = TARGET_MODULES[target].outFeatures(config);
        yield { layer, of: { b: target }, shape: [rank, outFeatures] };
      }
    }
  }
}

/** float32 bytes of one slot. */
export function slotBytes(config: DecoderConfig, form: SlotForm): number {
  const shapes = Array.from(slotShapes(config, form), ({ shape }) => shape);
  return 4 * shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
}

/** Powers of two, so that adapters of like rank share operands and a new rank seldom means new ones. */
function rankBucket(rank: number): number {
  return Math.max(SMALLEST_RANK, 2 ** Math.ceil(Math.log2(rank)));
}
