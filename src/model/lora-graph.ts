// The LoRA update of a site inside a serving graph: y += (x A) B for each row's own adapter.
// Groups of rows are multiplied apart (batched matmul), so no adapter meets another's rows.
// G = groups, m = rows per group (padded to the largest), R = the operands' rank, T = tokens of the run.
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import type { FloatType } from '../settings/provider.ts';
import type { DecoderConfig } from './config.ts';
import { SITES, type Site, TARGET_MODULES, type TargetName } from './target-modules.ts';

/**
 * `single`: all rows use one adapter, no gathers. `grouped`: rows are gathered by adapter and back.
 * Only `targets` are adapted; a run without adapters uses a graph without any of this.
 */
export type LoraLayout =
  | { readonly kind: 'none' }
  | { readonly kind: 'single' | 'grouped'; readonly targets: readonly TargetName[] };

/** Names of a graph's LoRA inputs. */
export const LORA_INPUTS = {
  /** int64 [G*m]: the token row that fills each place; padding repeats a row of the same group. */
  groupRows: 'lora_group_rows',
  /** int64 [T]: the place of each token row. */
  rowPlaces: 'lora_row_places',
  /** int64 [3] = [G, m, -1] */
  groupShape: 'lora_group_shape',
  /** float [G, in, R * (adapted targets of the site)] */
  a: (layer: number, site: Site) => `lora_a.${layer}.${site}`,
  /** float [G, R, out], scaling folded in */
  b: (layer: number, target: TargetName) => `lora_b.${layer}.${target}`,
} as const;

/** The site's linears that a layout adapts, in table order. */
export function adaptedTargets(layout: LoraLayout, site: Site): readonly TargetName[] {
  if (layout.kind === 'none') return [];
  return SITES[site].filter((target) => layout.targets.includes(target));
}

/** Builds the updates of one graph; the gathers' indices are shared by all sites. */
export class LoraGraph {
  readonly #g: GraphBuilder;
  readonly #config: DecoderConfig;
  readonly #layout: LoraLayout;
  readonly #float: FloatType;
  readonly #groupRows: Value | undefined;
  readonly #rowPlaces: Value | undefined;
  readonly #groupShape: Value | undefined;

  /** `float`: of x, the operands and the updates. */
  constructor(g: GraphBuilder, config: DecoderConfig, layout: LoraLayout, float: FloatType) {
    this.#g = g;
    this.#config = config;
    this.#layout = layout;
    this.#float = float;
    if (layout.kind !== 'grouped') return;
    this.#groupRows = g.input(LORA_INPUTS.groupRows, 'int64', ['places']);
    this.#rowPlaces = g.input(LORA_INPUTS.rowPlaces, 'int64', ['tokens']);
    this.#groupShape = g.input(LORA_INPUTS.groupShape, 'int64', [3]);
  }

  /** The updates of a site for x [T, in]: one [T, out] per adapted target, or all of them packed. */
  update(
    x: Value,
    layer: number,
    site: Site,
  ): { packed: Value } | { parts: ReadonlyMap<TargetName, Value> } | undefined {
    const targets = adaptedTargets(this.#layout, site);
    if (targets.length === 0) return undefined;
    const g = this.#g;
    const inFeatures = TARGET_MODULES[targets[0]!].inFeatures(this.#config);
    const fusedRank = targets.length === 1 ? 'rank' : `rank_x${targets.length}`;
    const a = g.input(LORA_INPUTS.a(layer, site), this.#float, ['groups', inFeatures, fusedRank]);
    const narrow = g.node('MatMul', [this.#toGroups(x), a]); // [G, m, R*k]
    const perTarget = this.#split(narrow, targets.length); // k x [G, m, R]
    const deltas = targets.map((target, i) => {
      const out = TARGET_MODULES[target].outFeatures(this.#config);
      const b = g.input(LORA_INPUTS.b(layer, target), this.#float, ['groups', 'rank', out]);
      return g.node('MatMul', [perTarget[i]!, b]); // [G, m, out]
    });
    if (targets.length < SITES[site].length) {
      return {
        parts: new Map(targets.map((target, i) => [target, this.#toRows(deltas[i]!, [target])])),
      };
    }
    const packed = deltas.length === 1 ? deltas[0]! : g.node('Concat', deltas, { axis: 2 });
    return { packed: this.#toRows(packed, targets) };
  }

  #split(fused: Value, count: number): readonly Value[] {
    if (count === 1) return [fused];
    const attributes = { axis: 2, num_outputs: count };
    const outputs = Array.from({ length: count }, () => true);
    return this.#g.nodeWithOutputs('Split', [fused], attributes, { outputs });
  }

  /** [T, in] → [G, m, in]; the one group of `single` is x itself (a leading 1 by broadcasting). */
  #toGroups(x: Value): Value {
    if (this.#layout.kind === 'single') return x;
    const gathered = this.#g.node('Gather', [x, this.#groupRows], { axis: 0 });
    return this.#g.node('Reshape', [gathered, this.#groupShape]);
  }

  /** [G, m, out] → [T, out] by selection: never by arithmetic, which would carry a NaN between groups. */
  #toRows(delta: Value, targets: readonly TargetName[]): Value {
    const width = targets.reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(this.#config), 0);
    const flat = this.#g.node('Reshape', [delta, this.#g.int64([-1, width])]);
    if (this.#layout.kind === 'single') return flat;
    return this.#g.node('Gather', [flat, this.#rowPlaces], { axis: 0 });
  }
}
