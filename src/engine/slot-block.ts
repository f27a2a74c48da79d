// The operands of adapter slots in one form, and which adapter's weights each slot holds. A slot is written in pieces,
// so that a whole adapter need not be copied between two steps. It knows no attached adapters: what is written beyond
// the slots in use is nobody's business but its owner's.
import type { AdapterWeights, LoraPair } from '../../adapters/peft/weights.ts';
import type { DecoderConfig } from '../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../model/lora-graph.ts';
import type { OrtTensor } from '../ort/tensor.ts';
import type { SlotTensors } from './model-memory.ts';
import { type OperandId, type SlotForm, slotShapes } from './slot-form.ts';

/** A named operand over a range of slots: A [slots, in, R * k], or B [slots, R, out]. */
export interface AdapterOperand extends OperandId {
  readonly tensor: OrtTensor;
}

/** An operand of one slot: A [in, R * k], or B [R, out]. */
export interface SlotOperand extends OperandId {
  readonly shape: readonly [number, number];
}

export class SlotBlock {
  readonly form: SlotForm;
  readonly #operands: readonly SlotOperand[];
  /** In the operands' order. */
  readonly #tensors: SlotTensors;
  readonly #ranges = new WeakMap<readonly OrtTensor[], readonly AdapterOperand[]>();
  /** Index = slot; undefined: nothing, or half of something. */
  readonly #held: (AdapterWeights | undefined)[] = [];

  constructor(form: SlotForm, operands: readonly SlotOperand[], tensors: SlotTensors) {
    this.form = form;
    this.#operands = operands;
    this.#tensors = tensors;
  }

  /** The operands over `count` slots from `first` on: good until the next call. */
  range(first: number, count: number): readonly AdapterOperand[] {
    const tensors = this.#tensors.range(first, count);
    const known = this.#ranges.get(tensors);
    if (known) return known;
    const operands = this.#operands.map(({ layer, of }, i) => ({ layer, of, tensor: tensors[i]! }));
    this.#ranges.set(tensors, operands);
    return operands;
  }

  holds(slot: number, weights: AdapterWeights): boolean {
    return this.#held[slot]?.digest === weights.digest;
  }

  isEmpty(slot: number): boolean {
    return this.#held[slot] === undefined;
  }

  /** From `first` on, as one of the slots before it may be told to hold something else. */
  find(weights: AdapterWeights, first: number): number | undefined {
    const slot = this.#held.findIndex((held, i) => i >= first && held?.digest === weights.digest);
    return slot < 0 ? undefined : slot;
  }

  write(slot: number, weights: AdapterWeights): void {
    for (const _ of this.writing(slot, weights));
  }

  /**
   * Writes a slot whole: what the adapter does not adapt, and ranks that it lacks, are zeros. Yields the bytes of each
   * piece; holds the adapter when it is done.
   */
  *writing(slot: number, weights: AdapterWeights): Generator<number> {
    this.#held[slot] = undefined;
    const layout: LoraLayout = { kind: 'grouped', targets: this.form.targets };
    for (const [index, { layer, of, shape }] of this.#operands.entries()) {
      const pairs = weights.layers[layer]!;
      const [rows, cols] = shape;
      this.#tensors.write(index, slot, (into) => {
        if ('b' in of) placeB(into, pairs[of.b]);
        else {
          const adapted = adaptedTargets(layout, of.a);
          const placed = adapted.map((target) => pairs[target]);
          placeA(into, cols, placed);
        }
      });
      yield 4 * rows * cols;
    }
    this.#held[slot] = weights;
  }

  move(from: number, to: number): void {
    this.#tensors.move(from, to);
    this.#held[to] = this.#held[from];
    this.#held[from] = undefined;
  }

  /** Gives the memory back. No binding may have a range bound. */
  release(): void {
    this.#tensors.release();
  }
}

/** Adds the tensors of a form to `tensors`, one by one; gives what they are. */
export function* allocateOperands(
  config: DecoderConfig,
  form: SlotForm,
  tensors: SlotTensors,
): Generator<SlotOperand> {
  for (const operand of slotShapes(config, form)) {
    tensors.add(operand.shape);
    yield operand;
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
