// Adapter slots: the weights of the attached adapters as operands of batched matmuls, one slot each, taken from
// the front without gaps so that a range of slots is an operand without a copy. Slot 0 is zeros, for rows
// without an adapter. Attaching and detaching happen between runs.
import type { AdapterWeights, LoraPair } from '../../adapters/weights.ts';
import { assert } from '../assert.ts';
import { ServeError } from '../errors.ts';
import type { DecoderConfig } from '../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../model/lora-graph.ts';
import type { TargetName } from '../model/target-modules.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { ZERO_SLOT } from './adapter-groups.ts';
import type { AdapterKey } from './batch.ts';
import { coveringTargets } from './lora-profiles.ts';
import {
  formOf,
  isSameForm,
  type OperandId,
  type SlotForm,
  slotBytes,
  slotShapes,
} from './slot-form.ts';

/** A named operand over a range of slots: A [slots, in, R * k], or B [slots, R, out]. */
export interface AdapterOperand extends OperandId {
  readonly tensor: OrtTensor<'float32'>;
}

export interface AdapterSlotsOptions {
  /** Adapters that can be attached at once. */
  readonly capacity: number;
  /** Of the slots in use: every slot is as wide as the widest adapter needs. */
  readonly capacityBytes: number;
}

/** Detached adapters of a larger rank leave slots that are too wide; so many runs later they are narrowed. */
const RUNS_BEFORE_NARROWING = 64;

export class AdapterSlots {
  readonly #config: DecoderConfig;
  readonly #options: AdapterSlotsOptions;
  /** Bytes of a slot by form, as there are few: asked for at every turn of a waiting adapter. */
  readonly #slotBytes = new Map<string, number>();
  /** Index = slot; slot 0 is the zero slot. */
  readonly #attached: (AdapterWeights | undefined)[] = [undefined];
  #operands: AdapterOperand[] = [];
  #form: SlotForm = { rank: 0, targets: [] };
  #tooWideRuns = 0;
  #views = new Map<string, readonly AdapterOperand[]>();
  #version = 0;

  constructor(config: DecoderConfig, options: AdapterSlotsOptions) {
    this.#config = config;
    this.#options = options;
  }

  /** The linears that the operands cover; a graph's layout must be of the same. */
  get targets(): readonly TargetName[] {
    return this.#form.targets;
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

  /** Whether these, and nothing else, could be attached at once. */
  canHold(adapters: readonly AdapterWeights[]): boolean {
    return this.#fits(formOf(adapters), adapters.length + 1);
  }

  /**
   * Throws `ServeError` where the slots would take more memory than they may: `adapter_invalid` where this
   * adapter alone does, else `overloaded`. What throws attaches nothing and changes nothing.
   */
  attach(weights: AdapterWeights): void {
    assert(!this.keys().includes(weights.digest), 'an adapter is attached once');
    assert(this.#attached.length <= this.#options.capacity, 'an adapter slot is free');
    const least = formOf([...this.#adapters(), weights]);
    const widest = {
      rank: Math.max(this.#form.rank, least.rank),
      targets: coveringTargets([...this.#form.targets, ...least.targets]),
    };
    const count = this.#attached.length + 1;
    const form = this.#fits(widest, count) ? widest : least;
    if (!this.#fits(form, count)) throw this.#noRoom(weights);
    if (!isSameForm(form, this.#form)) this.#rebuild(form);
    this.#attached.push(weights);
    this.#place(this.#attached.length - 1);
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
    if (this.#attached.length === 1) return;
    const least = formOf(this.#adapters());
    this.#tooWideRuns = isSameForm(least, this.#form) ? 0 : this.#tooWideRuns + 1;
    if (this.#tooWideRuns >= RUNS_BEFORE_NARROWING) this.#rebuild(least);
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

  #adapters(): AdapterWeights[] {
    return this.#attached.slice(1) as AdapterWeights[];
  }

  #fits(form: SlotForm, count: number): boolean {
    const id = `${form.rank}:${form.targets.length}`;
    const bytes = this.#slotBytes.get(id) ?? slotBytes(this.#config, form);
    this.#slotBytes.set(id, bytes);
    return count * bytes <= this.#options.capacityBytes;
  }

  #noRoom(weights: AdapterWeights): ServeError {
    const { rank } = weights;
    return this.canHold([weights])
      ? new ServeError('overloaded', `adapters in use leave no room for one of rank ${rank}`)
      : new ServeError('adapter_invalid', `adapter refused: rank ${rank} takes too much memory`);
  }

  /** Makes the operands anew, with what is attached. */
  #rebuild(form: SlotForm): void {
    const slots = this.#options.capacity + 1;
    // Pages of slots that were never taken are never touched.
    this.#operands = Array.from(slotShapes(this.#config, form), ({ shape, ...id }) => ({
      ...id,
      tensor: hostTensor('float32', [slots, ...shape]),
    }));
    this.#form = form;
    this.#tooWideRuns = 0;
    this.#version++;
    this.#views = new Map();
    for (let slot = 1; slot < this.#attached.length; slot++) this.#place(slot);
  }

  /** Writes a slot whole: what the adapter does not adapt, and ranks that it lacks, are zeros. */
  #place(slot: number): void {
    const weights = this.#attached[slot]!;
    const layout: LoraLayout = { kind: 'grouped', targets: this.#form.targets };
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
