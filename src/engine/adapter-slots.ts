// Adapter slots: the weights of the attached adapters as operands of batched matmuls, one slot each, taken from
// the front without gaps so that a range of slots is an operand without a copy. Slot 0 is zeros, for rows
// without an adapter. Attaching and detaching happen between runs.
import type { AdapterWeights, LoraPair } from '../../adapters/weights.ts';
import { assert } from '../assert.ts';
import type { DecoderConfig } from '../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../model/lora-graph.ts';
import { SITE_NAMES, type Site, TARGET_MODULES, type TargetName } from '../model/target-modules.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { ZERO_SLOT } from './adapter-groups.ts';
import type { AdapterKey } from './batch.ts';
import { coveringTargets } from './lora-profiles.ts';

type FloatTensor = OrtTensor<'float32'>;

/** A named operand over a range of slots. */
export interface AdapterOperand {
  /** A site's fused A [slots, in, R * k], or a target's B [slots, R, out]. */
  readonly tensor: FloatTensor;
  readonly layer: number;
  readonly of: { readonly a: Site } | { readonly b: TargetName };
}

/** Detached adapters of a larger rank leave slots that are too wide; so many runs later they are narrowed. */
const RUNS_BEFORE_NARROWING = 64;
const SMALLEST_RANK = 4;

export class AdapterSlots {
  readonly #config: DecoderConfig;
  readonly #capacity: number;
  /** Index = slot; slot 0 is the zero slot. */
  readonly #attached: (AdapterWeights | undefined)[] = [undefined];
  #operands: AdapterOperand[] = [];
  #rank = 0;
  #targets: readonly TargetName[] = [];
  #tooWideRuns = 0;
  #views = new Map<string, readonly AdapterOperand[]>();
  #version = 0;

  /** `capacity`: adapters that can be attached at once. */
  constructor(config: DecoderConfig, capacity: number) {
    this.#config = config;
    this.#capacity = capacity;
  }

  /** The linears that the operands cover; a graph's layout must be of the same. */
  get targets(): readonly TargetName[] {
    return this.#targets;
  }

  /** Slots in use, the zero slot included. */
  get usedSlots(): number {
    return this.#attached.length;
  }

  /** Changes whenever operands are made anew: what was bound before is stale. */
  get version(): number {
    return this.#version;
  }

  keys(): AdapterKey[] {
    return this.#attached.slice(1).map((weights) => weights!.digest);
  }

  slotOf(key: AdapterKey | undefined): number {
    if (key === undefined) return ZERO_SLOT;
    const slot = this.#attached.findIndex((weights) => weights?.digest === key);
    assert(slot > 0, 'the adapter is attached');
    return slot;
  }

  attach(weights: AdapterWeights): void {
    assert(!this.keys().includes(weights.digest), 'an adapter is attached once');
    assert(this.#attached.length <= this.#capacity, 'an adapter slot is free');
    this.#attached.push(weights);
    const rank = Math.max(this.#rank, rankBucket(weights.rank));
    const targets = coveringTargets([...this.#targets, ...weights.targets]);
    if (rank > this.#rank || targets.length > this.#targets.length) this.#rebuild(rank, targets);
    else this.#place(this.#attached.length - 1);
  }

  /** Frees a slot; the last one moves into it. */
  detach(key: AdapterKey): void {
    const slot = this.slotOf(key);
    const last = this.#attached.pop();
    if (slot === this.#attached.length) return;
    this.#attached[slot] = last;
    this.#place(slot);
  }

  /** To be called once per run: narrows slots that have been too wide for long. */
  noteRun(): void {
    const attached = this.#attached.slice(1) as AdapterWeights[];
    if (attached.length === 0) return;
    const rank = rankBucket(Math.max(...attached.map((weights) => weights.rank)));
    const targets = coveringTargets(attached.flatMap((weights) => weights.targets));
    const isTooWide = rank < this.#rank || targets.length < this.#targets.length;
    this.#tooWideRuns = isTooWide ? this.#tooWideRuns + 1 : 0;
    if (this.#tooWideRuns >= RUNS_BEFORE_NARROWING) this.#rebuild(rank, targets);
  }

  /** The operands over `count` slots from `first` on. */
  range(first: number, count: number): readonly AdapterOperand[] {
    const id = `${first}+${count}`;
    const known = this.#views.get(id);
    if (known) return known;
    const views = this.#operands.map((operand) => {
      const [, rows, cols] = operand.tensor.shape as [number, number, number];
      const tensor = operand.tensor.view([count, rows, cols], first * rows * cols);
      return { ...operand, tensor };
    });
    this.#views.set(id, views);
    return views;
  }

  #rebuild(rank: number, targets: readonly TargetName[]): void {
    this.#rank = rank;
    this.#targets = targets;
    this.#tooWideRuns = 0;
    this.#version++;
    this.#views = new Map();
    this.#operands = [];
    const layout: LoraLayout = { kind: 'grouped', targets };
    const slots = this.#capacity + 1;
    for (let layer = 0; layer < this.#config.layerCount; layer++) {
      for (const site of SITE_NAMES) {
        const adapted = adaptedTargets(layout, site);
        if (adapted.length === 0) continue;
        const { inFeatures } = TARGET_MODULES[adapted[0]!];
        const aShape = [slots, inFeatures(this.#config), rank * adapted.length];
        // Pages of slots that were never taken are never touched.
        this.#operands.push({ tensor: hostTensor('float32', aShape), layer, of: { a: site } });
        for (const target of adapted) {
          const bShape = [slots, rank, TARGET_MODULES[target].outFeatures(this.#config)];
          this.#operands.push({ tensor: hostTensor('float32', bShape), layer, of: { b: target } });
        }
      }
    }
    for (let slot = 1; slot < this.#attached.length; slot++) this.#place(slot);
  }

  /** Writes a slot whole: what the adapter does not adapt, and ranks that it lacks, are zeros. */
  #place(slot: number): void {
    const weights = this.#attached[slot]!;
    const layout: LoraLayout = { kind: 'grouped', targets: this.#targets };
    for (const { tensor, layer, of } of this.#operands) {
      const [, rows, cols] = tensor.shape as [number, number, number];
      const into = tensor.data.subarray(slot * rows * cols, (slot + 1) * rows * cols);
      const pairs = weights.layers[layer]!;
      if ('b' in of) placeB(into, pairs[of.b]);
      else {
        const adapted = adaptedTargets(layout, of.a);
        placeA(
          into,
          cols,
          adapted.map((target) => pairs[target]),
        );
      }
    }
  }
}

/** Powers of two, so that adapters of like rank share operands and a new rank seldom means new ones. */
function rankBucket(rank: number): number {
  return Math.max(SMALLEST_RANK, 2 ** Math.ceil(Math.log2(rank)));
}

/** B [rank, out] → [R, out]: the first rows, zeros after them. */
function placeB(into: Float32Array, pair: LoraPair | undefined): void {
  if (pair) into.set(pair.b);
  into.fill(0, pair?.b.length ?? 0);
}

/** The A [in, rank] of k targets → [in, R * k]: columns side by side, zeros after each. */
function placeA(into: Float32Array, cols: number, pairs: readonly (LoraPair | undefined)[]): void {
  const width = cols / pairs.length;
  if (pairs.some((pair) => pair?.rank !== width)) into.fill(0);
  pairs.forEach((pair, k) => {
    if (!pair) return;
    const { a, rank } = pair;
    for (let from = 0, to = k * width; from < a.length; to += cols - rank) {
      for (let i = 0; i < rank; i++) into[to++] = a[from++]!;
    }
  });
}
