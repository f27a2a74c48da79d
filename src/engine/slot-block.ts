// The operands of adapter slots in one form, and which adapter's weights each slot holds. A slot is written in pieces,
// so that a whole adapter need not be copied between two steps. It knows no attached adapters: what is written beyond
// the slots in use is nobody's business but its owner's.
import type { AdapterWeights, LoraPair } from '../../adapters/weights.ts';
import type { DecoderConfig } from '../model/config.ts';
import { adaptedTargets, type LoraLayout } from '../model/lora-graph.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { type OperandId, type SlotForm, slotShapes } from './slot-form.ts';

/** A named operand over a range of slots: A [slots, in, R * k], or B [slots, R, out]. */
export interface AdapterOperand extends OperandId {
  readonly tensor: OrtTensor<'float32'>;
}

export class SlotBlock {
  readonly form: SlotForm;
  readonly operands: readonly AdapterOperand[];
  /** Index = slot; undefined: nothing, or half of something. */
  readonly #held: (AdapterWeights | undefined)[] = [];

  constructor(form: SlotForm, operands: readonly AdapterOperand[]) {
    this.form = form;
    this.operands = operands;
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
    for (const operand of this.operands) {
      const { layer, of } = operand;
      const into = slotData(operand, slot);
      const pairs = weights.layers[layer]!;
      if ('b' in of) placeB(into, pairs[of.b]);
      else {
        const [, , cols] = operand.tensor.shape as [number, number, number];
        const adapted = adaptedTargets(layout, of.a);
        placeA(
          into,
          cols,
          adapted.map((target) => pairs[target]),
        );
      }
      yield into.byteLength;
    }
    this.#held[slot] = weights;
  }

  move(from: number, to: number): void {
    for (const operand of this.operands) slotData(operand, to).set(slotData(operand, from));
    this.#held[to] = this.#held[from];
    this.#held[from] = undefined;
  }
}

/** One by one, for so many slots, slot 0 included. Pages of slots that are never written are never touched. */
export function* allocateOperands(
  config: DecoderConfig,
  form: SlotForm,
  slotCount: number,
): Generator<AdapterOperand> {
  for (const { shape, ...id } of slotShapes(config, form)) {
    yield { ...id, tensor: hostTensor('float32', [slotCount, ...shape]) };
  }
}

function slotData({ tensor }: AdapterOperand, slot: number): Float32Array {
  const [, rows, cols] = tensor.shape as [number, number, number];
  return tensor.data.subarray(slot * rows * cols, (slot + 1) * rows * cols);
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
