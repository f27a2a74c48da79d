// The adapters' part of a fused linear in a serving graph: y += (x A) B, with each row's adapter. Each group of rows has a
// separate matrix in a batched matmul, so adapters never touch other rows. For adapters that also change outputs, each row
// gathers a factor and a bias per output. G = groups, R = rank of the operands, T = tokens of the run. Each group has n rows,
// padded to the size of the largest group.
import type { GraphBuilder, Value } from '../onnx/graph-builder.ts';
import { PACKED_BLOCK } from '../quant/row-int8.ts';
import type { FloatType } from '../settings/provider.ts';
import type { ChangedPart } from './adapter-vectors.ts';
import type { DecoderConfig } from './config.ts';
import {
  type FusedLinear,
  fusedTargets,
  fusedWidth,
  TARGET_MODULES,
  TARGET_NAMES,
  type TargetName,
} from './target-modules.ts';

/**
 * How a graph applies adapters. `none`: not at all. `slots`: our own operator reads the slot of each row. The runtime's operators
 * need a layout for each shape of a run. `token`: to one token row. `sequence`: one adapter to several tokens of one
 * sequence. `rows`: one adapter to the next tokens of several sequences. `grouped`: several adapters; rows are gathered by
 * adapter and back.
 *
 * A row's update must not depend on the other rows. The runtime sums a product of one row in another order than a product of
 * several, and for several rows the order depends on the number of columns. So next tokens are multiplied one by one in every
 * layout, and a sequence by at most 16 columns of A at a time, for which the order is fixed (docs/decisions/0026-same-answers.md).
 */
export type LoraLayout =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'slots' | 'token' | 'sequence' | 'rows' | 'grouped';
      readonly targets: readonly TargetName[];
      readonly parts: readonly ChangedPart[];
    };

/** The adapters that a graph can apply. */
export type AdapterForm = Omit<Exclude<LoraLayout, { kind: 'none' }>, 'kind'>;

/** An input of our own operator that it may lack. */
export type AdapterInput = Value | undefined;

/** The most columns of A in one product of a sequence. */
export const COLUMNS_AT_ONCE = 16;

/** The names of a graph's LoRA inputs. */
export const LORA_INPUTS = {
  /** int64 [G*n]: the token row at each padded position. */
  groupRows: 'lora_group_rows',
  /** int64 [T]: the padded position of each token row. */
  paddedPositions: 'lora_padded_positions',
  /** int64 [4] = [G, n, 1, -1] */
  groupShape: 'lora_group_shape',
  /** int64 [5] = [0, 0, 0, -1, min(R, 16)]: the columns of A [1, 1, in, R * k] in groups of equal width. For `sequence`. */
  columnShape: 'lora_column_shape',
  /** int64 [T]: the group of each token row, for `grouped` if adapters change vectors; the slot of each row for `slots`. */
  rowGroups: 'lora_row_groups',
  /** int8 [S, R * k, in], float [S, R * k] and int8 [S, out / 16, R, 16], for `slots`: see `native/kernels.h` */
  codesA: (layer: number, fused: FusedLinear) => `lora_codes_a.${layer}.${fused}`,
  scales: (layer: number, fused: FusedLinear) => `lora_scales.${layer}.${fused}`,
  codesB: (layer: number, fused: FusedLinear) => `lora_codes_b.${layer}.${fused}`,
  /** float [G, 1, in, R * k] for the k adapted targets of the fused linear */
  a: (layer: number, fused: FusedLinear) => `lora_a.${layer}.${fused}`,
  /** float [G, 1, R, out], including the scaling */
  b: (layer: number, target: TargetName) => `lora_b.${layer}.${target}`,
  /** float [G, width of the fused linear]: y += y * scale + bias, before the update */
  scale: (layer: number, fused: FusedLinear) => `lora_scale.${layer}.${fused}`,
  bias: (layer: number, fused: FusedLinear) => `lora_bias.${layer}.${fused}`,
  /** float [G, length]: added to the weight of a norm */
  norm: (weight: string) => `lora_norm.${weight}`,
  /** float32 [T, 1] and [T, D]: an embedding e becomes e * keep + added */
  embeddingKeep: 'lora_embedding_keep',
  embeddingAdded: 'lora_embedding_added',
} as const;

/** Returns the adapted targets of a fused linear, in table order. */
export function adaptedTargets(
  targets: readonly TargetName[],
  fused: FusedLinear,
): readonly TargetName[] {
  const isAdapted = (target: TargetName) =>
    TARGET_MODULES[target].fused === fused && targets.includes(target);
  return TARGET_NAMES.filter(isAdapted);
}

/** Whether graphs with these parts take vectors for each row. */
export function hasVectors(parts: readonly ChangedPart[]): boolean {
  return parts.includes('outputs') || parts.includes('norms');
}

/** Builds the LoRA updates of one graph. They share the gather indices. */
export class LoraGraph {
  readonly #g: GraphBuilder;
  readonly #config: DecoderConfig;
  readonly #layout: LoraLayout;
  readonly #float: FloatType;
  readonly #groupRows: Value | undefined;
  readonly #paddedPositions: Value | undefined;
  readonly #groupShape: Value | undefined;
  readonly #rowGroups: Value | undefined;
  readonly #columnShape: Value | undefined;

  /** `float` is the type of x, the operands and the updates. */
  constructor(g: GraphBuilder, config: DecoderConfig, layout: LoraLayout, float: FloatType) {
    this.#g = g;
    this.#config = config;
    this.#layout = layout;
    this.#float = float;
    if (layout.kind === 'sequence')
      this.#columnShape = g.input(LORA_INPUTS.columnShape, 'int64', [5]);
    if (layout.kind === 'slots')
      this.#rowGroups = g.input(LORA_INPUTS.rowGroups, 'int64', ['tokens']);
    if (layout.kind !== 'grouped') return;
    this.#groupRows = g.input(LORA_INPUTS.groupRows, 'int64', ['padded']);
    this.#paddedPositions = g.input(LORA_INPUTS.paddedPositions, 'int64', ['tokens']);
    this.#groupShape = g.input(LORA_INPUTS.groupShape, 'int64', [4]);
    if (!hasVectors(layout.parts)) return;
    this.#rowGroups = g.input(LORA_INPUTS.rowGroups, 'int64', ['tokens']);
  }

  /** Applies the factors and biases of each row's adapter to the base's outputs y [T, width] of a fused linear. */
  changeOutputs(y: Value, layer: number, fused: FusedLinear): Value {
    if (!this.#has('outputs')) return y;
    const width = fusedWidth(this.#config, fused);
    const scaled = this.#g.node('Mul', [y, this.#ofRows(LORA_INPUTS.scale(layer, fused), width)]);
    const sum = this.#g.node('Add', [y, scaled]);
    return this.#g.node('Add', [sum, this.#ofRows(LORA_INPUTS.bias(layer, fused), width)]);
  }

  /** Returns the inputs of our own operator for the adapters of a fused linear. */
  operands(layer: number, fused: FusedLinear): readonly AdapterInput[] {
    if (this.#layout.kind !== 'slots') return [];
    const g = this.#g;
    const config = this.#config;
    const width = fusedWidth(config, fused);
    const updates: AdapterInput[] = new Array(4).fill(undefined);
    if (adaptedTargets(this.#layout.targets, fused).length > 0) {
      const targets = fusedTargets(config, fused);
      const rankRows = targets.length === 1 ? 'rank' : `rank_x${targets.length}`;
      const inFeatures = TARGET_MODULES[targets[0]!].inFeatures(config);
      let end = 0;
      const ends = targets.map((target) => (end += TARGET_MODULES[target].outFeatures(config)));
      updates[0] = g.input(LORA_INPUTS.codesA(layer, fused), 'int8', [
        'slots',
        rankRows,
        inFeatures,
      ]);
      updates[1] = g.input(LORA_INPUTS.scales(layer, fused), 'float32', ['slots', rankRows]);
      const blocks = ['slots', width / PACKED_BLOCK.outputs, 'rank', PACKED_BLOCK.outputs];
      updates[2] = g.input(LORA_INPUTS.codesB(layer, fused), 'int8', blocks);
      updates[3] = g.int64(ends);
    } else if (!this.#has('outputs')) return [];
    const vectors = this.#has('outputs')
      ? [LORA_INPUTS.scale(layer, fused), LORA_INPUTS.bias(layer, fused)].map((name) =>
          g.input(name, 'float32', ['slots', width]),
        )
      : [];
    return [this.#rowGroups, ...updates, ...vectors];
  }

  /** Whether the hidden states of the requested rows are an output, for adapters that change the output head. */
  get changesHead(): boolean {
    return this.#has('head');
  }

  /** Replaces embeddings [T, D], or adds to them, according to each row's adapter. */
  changeEmbeddings(embeddings: Value): Value {
    if (!this.#has('embedding')) return embeddings;
    const g = this.#g;
    const input = (name: string, width: number) =>
      g.cast(g.input(name, 'float32', ['tokens', width]), this.#float);
    const kept = g.node('Mul', [embeddings, input(LORA_INPUTS.embeddingKeep, 1)]);
    const { hiddenSize } = this.#config;
    return g.node('Add', [kept, input(LORA_INPUTS.embeddingAdded, hiddenSize)]);
  }

  /**
   * Returns the weights of a norm: the base's plus the vectors of each row's adapter, [T, length], or [1, length] if all rows
   * use one adapter. Undefined if no adapter changes norms.
   */
  normWeights(gamma: Value, weight: string, length: number): Value | undefined {
    if (!this.#has('norms')) return undefined;
    return this.#g.node('Add', [gamma, this.#ofRows(LORA_INPUTS.norm(weight), length)]);
  }

  /**
   * Returns the updates of a fused linear for x [T, in]: packed if all its targets are adapted, otherwise one [T, out] per
   * target.
   */
  update(
    x: Value,
    layer: number,
    fused: FusedLinear,
  ): { packed: Value } | { parts: ReadonlyMap<TargetName, Value> } | undefined {
    if (this.#layout.kind === 'none') return undefined;
    const targets = adaptedTargets(this.#layout.targets, fused);
    if (targets.length === 0) return undefined;
    const g = this.#g;
    const inFeatures = TARGET_MODULES[targets[0]!].inFeatures(this.#config);
    const fusedRank = targets.length === 1 ? 'rank' : `rank_x${targets.length}`;
    const aDims = ['groups', 1, inFeatures, fusedRank];
    const a = g.input(LORA_INPUTS.a(layer, fused), this.#float, aDims);
    const narrow = this.#narrow(x, a);
    const perTarget = targets.length === 1 ? [narrow] : g.split(narrow, targets.length, -1);
    const deltas = targets.map((target, i) => {
      const out = TARGET_MODULES[target].outFeatures(this.#config);
      const b = g.input(LORA_INPUTS.b(layer, target), this.#float, ['groups', 1, 'rank', out]);
      return g.node('MatMul', [perTarget[i]!, b]); // [G, n, 1, out], or [1, 1, T, out] for a sequence
    });
    if (targets.length < fusedTargets(this.#config, fused).length) {
      return {
        parts: new Map(targets.map((target, i) => [target, this.#toRows(deltas[i]!, [target])])),
      };
    }
    const packed = deltas.length === 1 ? deltas[0]! : g.node('Concat', deltas, { axis: 3 });
    return { packed: this.#toRows(packed, targets) };
  }

  #has(part: ChangedPart): boolean {
    return this.#layout.kind !== 'none' && this.#layout.parts.includes(part);
  }

  /** Returns a vector for each row from its adapter: [T, width], or [1, width] if all rows use one adapter. */
  #ofRows(name: string, width: number): Value {
    const vectors = this.#g.input(name, this.#float, ['groups', width]);
    if (!this.#rowGroups) return vectors;
    return this.#g.node('Gather', [vectors, this.#rowGroups], { axis: 0 });
  }

  /** Multiplies x [T, in] by A [G, 1, in, R*k]: [G, n, 1, R*k] for groups, otherwise T rows in fewer or more dimensions. */
  #narrow(x: Value, a: Value): Value {
    const g = this.#g;
    switch (this.#layout.kind) {
      case 'grouped': {
        const gathered = g.node('Gather', [x, this.#groupRows], { axis: 0 });
        return g.node('MatMul', [g.node('Reshape', [gathered, this.#groupShape]), a]);
      }
      case 'rows': {
        // With fewer dimensions than the operand, the rows are separate products instead of one.
        const narrow = g.node('MatMul', [g.node('Unsqueeze', [x, g.int64([1])]), a]); // [1, T, 1, R*k]
        return g.node('Squeeze', [narrow, g.int64([0])]);
      }
      case 'sequence': {
        const perm = [0, 1, 3, 2, 4];
        const columns = g.node('Reshape', [a, this.#columnShape]); // [1, 1, in, C, 16]
        const groups = g.node('Transpose', [columns], { perm });
        const narrow = g.node('Transpose', [g.node('MatMul', [x, groups])], { perm }); // [1, 1, T, C, 16]
        return g.node('Reshape', [narrow, g.int64([0, 0, 0, -1])]);
      }
      default:
        return g.node('MatMul', [x, a]);
    }
  }

  /** [G, n, 1, out] → [T, out], by a gather. Arithmetic would spread a NaN to other groups. */
  #toRows(delta: Value, targets: readonly TargetName[]): Value {
    const width = targets.reduce((sum, t) => sum + TARGET_MODULES[t].outFeatures(this.#config), 0);
    const flat = this.#g.node('Reshape', [delta, this.#g.int64([-1, width])]);
    if (this.#layout.kind !== 'grouped') return flat;
    return this.#g.node('Gather', [flat, this.#paddedPositions], { axis: 0 });
  }
}
