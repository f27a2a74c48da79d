// The adapters' part of a fused linear in a serving graph: y += (x A) B, with each row's adapter. Our own operator reads the slot
// of each row. With the runtime's operators each group of rows has a separate matrix in a batched matmul, so adapters never touch
// other rows. For adapters that also change outputs, each row gathers a factor and a bias per output. S = slots, G = groups, R =
// rank of the operands, T = tokens of the run.
//
// A row's update must not depend on the other rows. The runtime sums a product of one row in another order than a product of
// several, and for several rows the order depends on the number of columns. So next tokens are multiplied one by one, and a
// sequence by at most 16 columns of A at a time, for which the order is fixed (docs/decisions/0026-same-answers.md).
import type { ElementType, GraphBuilder, Value } from '../onnx/graph-builder.ts';
import type { FloatType } from '../settings/provider.ts';
import type { ChangedPart } from './adapter-vectors.ts';
import type { DecoderConfig } from './config.ts';
import {
  type FusedLinear,
  fusedTargets,
  fusedWidth,
  TARGET_MODULES,
  type TargetName,
} from './target-modules.ts';

/** The adapters that a graph can apply. */
export interface AdapterForm {
  /** The fused linears that they update. */
  readonly linears: readonly FusedLinear[];
  readonly parts: readonly ChangedPart[];
}

/** An input of our own operator that it may lack. */
export type AdapterInput = Value | undefined;

/** Returns how many columns of A are multiplied at a time. Ranks of operands are powers of two. */
export function columnsAtOnce(rank: number): number {
  return Math.min(rank, 16);
}

/** The names of a graph's LoRA inputs. */
export const LORA_INPUTS = {
  /** int64 [G * n * M]: the token row at each padded position. Groups have n rows of M tokens, padded to the largest group. */
  groupRows: 'lora_group_rows',
  /** int64 [T]: the padded position of each token row. */
  paddedPositions: 'lora_padded_positions',
  /** int64 [5] = [G, n, 1, M, -1]. Next tokens are rows of one token. A sequence is one row. */
  groupShape: 'lora_group_shape',
  /** int64 [T]: the group of each token row if adapters change vectors; for our own operator the slot. */
  rowGroups: 'lora_row_groups',
  /** For our own operator int8 [S, R * k, in], float [S, R * k] and int8 [S, out / 16, R, 16]: see `native/kernels.h` */
  codesA: (layer: number, fused: FusedLinear) => `lora_codes_a.${layer}.${fused}`,
  scales: (layer: number, fused: FusedLinear) => `lora_scales.${layer}.${fused}`,
  codesB: (layer: number, fused: FusedLinear) => `lora_codes_b.${layer}.${fused}`,
  /** float [G, 1, R * k / c, in, c] for the k targets of the fused linear, whose columns are multiplied c at a time */
  a: (layer: number, fused: FusedLinear) => `lora_a.${layer}.${fused}`,
  /** float [G, 1, 1, R, out], including the scaling */
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

/** Whether graphs with these parts take vectors for each row. */
export function hasVectors(parts: readonly ChangedPart[]): boolean {
  return parts.includes('outputs') || parts.includes('norms');
}

interface LoraGraphOptions {
  readonly config: DecoderConfig;
  /** Absent: the graph applies no adapters. */
  readonly form: AdapterForm | undefined;
  /** The type of x, the operands and the updates. */
  readonly float: FloatType;
  /** Whether our own operator applies the updates. */
  readonly isOwn: boolean;
}

/** Builds the LoRA updates of one graph. They share the gather indices. */
export class LoraGraph {
  readonly #g: GraphBuilder;
  readonly #options: LoraGraphOptions;
  /** int64 [T]: the group of each row, for our own operator the slot. */
  readonly #rowGroups: Value | undefined;
  /** For the runtime's operators. */
  readonly #groups:
    | { readonly rows: Value; readonly positions: Value; readonly shape: Value }
    | undefined;

  constructor(g: GraphBuilder, options: LoraGraphOptions) {
    const { form, isOwn } = options;
    this.#g = g;
    this.#options = options;
    const input = (name: string, length: number | string) => g.input(name, 'int64', [length]);
    if (form && (isOwn || hasVectors(form.parts)))
      this.#rowGroups = input(LORA_INPUTS.rowGroups, 'tokens');
    if (form && !isOwn) {
      this.#groups = {
        rows: input(LORA_INPUTS.groupRows, 'padded'),
        positions: input(LORA_INPUTS.paddedPositions, 'tokens'),
        shape: input(LORA_INPUTS.groupShape, 5),
      };
    }
  }

  /** Applies the factors and biases of each row's adapter to the base's outputs y [T, width] of a fused linear. */
  changeOutputs(y: Value, layer: number, fused: FusedLinear): Value {
    if (!this.#has('outputs')) return y;
    const width = fusedWidth(this.#options.config, fused);
    const scaled = this.#g.node('Mul', [y, this.#ofRows(LORA_INPUTS.scale(layer, fused), width)]);
    const sum = this.#g.node('Add', [y, scaled]);
    return this.#g.node('Add', [sum, this.#ofRows(LORA_INPUTS.bias(layer, fused), width)]);
  }

  /** Returns the inputs of our own operator for the adapters of a fused linear. */
  operands(layer: number, fused: FusedLinear): readonly AdapterInput[] {
    const { config, form } = this.#options;
    const updates: AdapterInput[] = new Array(4).fill(undefined);
    if (form?.linears.includes(fused)) {
      let end = 0;
      const ends = fusedTargets(config, fused).map(
        (target) => (end += TARGET_MODULES[target].outFeatures(config)),
      );
      updates[0] = this.#operand(LORA_INPUTS.codesA(layer, fused), 'int8', 3);
      updates[1] = this.#operand(LORA_INPUTS.scales(layer, fused), 'float32', 2);
      updates[2] = this.#operand(LORA_INPUTS.codesB(layer, fused), 'int8', 4);
      updates[3] = this.#g.int64(ends);
    } else if (!this.#has('outputs')) return [];
    const vectors = this.#has('outputs')
      ? [LORA_INPUTS.scale(layer, fused), LORA_INPUTS.bias(layer, fused)]
      : [];
    const changes = vectors.map((name) => this.#operand(name, 'float32', 2));
    return [this.#rowGroups, ...updates, ...changes];
  }

  /** Whether the hidden states of the requested rows are an output, for adapters that change the output head. */
  get changesHead(): boolean {
    return this.#has('head');
  }

  /** Replaces embeddings [T, D], or adds to them, according to each row's adapter. */
  changeEmbeddings(embeddings: Value): Value {
    if (!this.#has('embedding')) return embeddings;
    const g = this.#g;
    const { config, float } = this.#options;
    const input = (name: string, width: number) =>
      g.cast(g.input(name, 'float32', ['tokens', width]), float);
    const kept = g.node('Mul', [embeddings, input(LORA_INPUTS.embeddingKeep, 1)]);
    return g.node('Add', [kept, input(LORA_INPUTS.embeddingAdded, config.hiddenSize)]);
  }

  /**
   * Returns the weights of a norm: the base's plus the vectors of each row's adapter, [T, length]. Undefined if no adapter changes
   * norms.
   */
  normWeights(gamma: Value, weight: string, length: number): Value | undefined {
    if (!this.#has('norms')) return undefined;
    return this.#g.node('Add', [gamma, this.#ofRows(LORA_INPUTS.norm(weight), length)]);
  }

  /** Returns the updates [T, out] of a fused linear for x [T, in]. Undefined if no adapter updates it. */
  update(x: Value, layer: number, fused: FusedLinear): Value | undefined {
    const { config, form, float } = this.#options;
    if (!form?.linears.includes(fused)) return undefined;
    const g = this.#g;
    const { rows, positions, shape } = this.#groups!;
    const grouped = g.node('Reshape', [g.node('Gather', [x, rows], { axis: 0 }), shape]); // [G, n, 1, M, in]
    const columns = g.node('MatMul', [
      grouped,
      this.#operand(LORA_INPUTS.a(layer, fused), float, 5),
    ]); // [G, n, R * k / c, M, c]
    const together = g.node('Transpose', [columns], { perm: [0, 1, 3, 2, 4] });
    const narrow = g.node('Reshape', [together, shape]); // [G, n, 1, M, R * k]
    const targets = fusedTargets(config, fused);
    const perTarget = targets.length === 1 ? [narrow] : g.split(narrow, targets.length, -1);
    const deltas = targets.map((target, i) =>
      g.node('MatMul', [perTarget[i]!, this.#operand(LORA_INPUTS.b(layer, target), float, 5)]),
    );
    const packed = deltas.length === 1 ? deltas[0]! : g.node('Concat', deltas, { axis: 4 });
    // By a gather, because arithmetic would spread a NaN to other groups.
    const flat = g.node('Reshape', [packed, g.int64([-1, fusedWidth(config, fused)])]);
    return g.node('Gather', [flat, positions], { axis: 0 });
  }

  #has(part: ChangedPart): boolean {
    return this.#options.form?.parts.includes(part) ?? false;
  }

  /** Returns a vector for each row from its adapter: [T, width]. */
  #ofRows(name: string, width: number): Value {
    const vectors = this.#g.input(name, this.#options.float, ['groups', width]);
    return this.#g.node('Gather', [vectors, this.#rowGroups], { axis: 0 });
  }

  /** Declares an operand of slots or groups. `slotOperands` gives its shape, most of which depends on the rank. */
  #operand(name: string, type: ElementType, dimCount: number): Value {
    const dims = Array.from({ length: dimCount }, (_, i) => `${name}.${i}`);
    return this.#g.input(name, type, dims);
  }
}
