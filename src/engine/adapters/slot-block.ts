// A block of adapter slots: the operands of all slots in one form, and which adapter's weights each slot holds. A slot can be
// written in the background, so that no step waits while a whole adapter is copied. `adapter-slots.ts` decides which adapters
// are attached.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AdapterWeights, LoraPair } from '../../../adapters/peft/weights.ts';
import { elementCount } from '../../common/tensor.ts';
import type { DecoderConfig } from '../../model/config.ts';
import type { LoraCodes } from '../../model/lora-codes.ts';
import type { RowPacking } from '../../model/row-weights.ts';
import { type RoundedUpdate, roundUpdates } from '../../ort/own-operators.ts';
import type { OrtTensor } from '../../ort/tensor.ts';
import type { SlotTensors, SlotValues } from '../memory/model-memory.ts';
import { type SlotForm, type SlotOperand, slotOperands } from './slot-form.ts';

/** An operand over a range of slots. */
export interface AdapterOperand {
  /** The graph input that it is bound to. */
  readonly input: string;
  readonly tensor: OrtTensor;
}

/** The operands of all slots in one form. */
export class SlotBlock {
  readonly form: SlotForm;
  readonly #operands: readonly SlotOperand[];
  /** In the same order as the operands. */
  readonly #tensors: SlotTensors;
  readonly #ranges = new WeakMap<readonly OrtTensor[], readonly AdapterOperand[]>();
  /** Slot → the digest of what it holds, the one renewed last at the end. A slot that is half written holds nothing. */
  readonly #contents = new Map<number, string>();

  /** `packing` is the order of the base's linears, which the operands follow. */
  constructor(config: DecoderConfig, form: SlotForm, packing: RowPacking, tensors: SlotTensors) {
    this.form = form;
    this.#operands = [...slotOperands(config, form, packing)];
    tensors.add(this.#operands);
    this.#tensors = tensors;
  }

  /** The operands over slots first … first + count - 1. Valid until the next call of any method. */
  range(first: number, count: number): readonly AdapterOperand[] {
    const tensors = this.#tensors.range(first, count);
    const known = this.#ranges.get(tensors);
    if (known) return known;
    const operands = this.#operands.map(({ input }, i) => ({ input, tensor: tensors[i]! }));
    this.#ranges.set(tensors, operands);
    return operands;
  }

  holds(slot: number, { digest }: AdapterWeights): boolean {
    return this.#contents.get(slot) === digest;
  }

  /** A slot that holds the adapter. */
  find({ digest }: AdapterWeights): number | undefined {
    return [...this.#contents].find(([, held]) => held === digest)?.[0];
  }

  /** Returns the first of these slots that is empty, else the one renewed longest ago. */
  oldest(slots: readonly number[]): number | undefined {
    const isAmong = new Set(slots);
    return (
      slots.find((slot) => !this.#contents.has(slot)) ??
      [...this.#contents.keys()].find((slot) => isAmong.has(slot))
    );
  }

  /** Makes a slot's content the last to be replaced. */
  renew(slot: number): void {
    const held = this.#contents.get(slot);
    this.#contents.delete(slot);
    if (held !== undefined) this.#contents.set(slot, held);
  }

  write(slot: number, weights: AdapterWeights): void {
    for (const _ of this.writeInPieces(slot, weights));
  }

  /**
   * Writes a whole slot, one operand at a time, and yields the bytes of each. Linears and ranks that the adapter lacks
   * become zeros. The slot holds the adapter once the generator is done.
   */
  *writeInPieces(slot: number, weights: AdapterWeights): Generator<number> {
    this.#contents.delete(slot);
    /** The updates of the fused linear that is being written, by target. */
    let updates: RoundedUpdate[] = [];
    for (const [index, operand] of this.#operands.entries()) {
      this.#tensors.write(index, slot, (into) => this.#fill(operand, weights, into, updates));
      if ('codes' in operand.source && operand.source.codes === LAST_CODES) {
        roundUpdates(Object.values(updates));
        updates = [];
      }
      yield Float32Array.BYTES_PER_ELEMENT * elementCount(operand.shape); // read from the adapter
    }
    this.#contents.set(slot, weights.digest);
  }

  /** Sets all elements of one operand. Those with 8 bits get zeros, and become part of `updates`. */
  #fill(
    { source, shape }: SlotOperand,
    weights: AdapterWeights,
    into: SlotValues,
    updates: RoundedUpdate[],
  ): void {
    if ('vectors' in source) {
      into.fill(0);
      let start = 0;
      for (const { name, length } of source.vectors) {
        into.set(weights.vectors.get(name) ?? [], start);
        start += length;
      }
      return;
    }
    const pairs = weights.layers[source.layer]!;
    if ('b' in source) copyB(into, pairs[source.b]);
    else if ('a' in source) {
      const [, , inFeatures, columns] = shape as [number, number, number, number];
      const adapted = source.a.map((target) => pairs[target]);
      copyA(into, { inFeatures, columns, ranks: this.form.rank }, adapted);
    } else {
      into.fill(0);
      const { codes, parts } = source;
      const { rank: ranks } = this.form;
      const rowSize = { codesA: shape.at(-1)!, scales: 1, codesB: 0 }[codes];
      let start = 0;
      parts.forEach(({ target, width }, i) => {
        const pair = pairs[target];
        const rest = into.subarray(ranks * (codes === 'codesB' ? start : i * rowSize));
        if (pair) updates[i] = { ...updates[i], pair, ranks, [codes]: rest };
        start += width;
      });
    }
  }

  move(from: number, to: number): void {
    this.#tensors.move(from, to);
    const held = this.#contents.get(from);
    this.#contents.delete(from);
    this.#contents.delete(to);
    if (held !== undefined) this.#contents.set(to, held);
  }

  /** Frees the memory. Unbind all its ranges first. */
  release(): void {
    this.#tensors.release();
  }
}

/** The last operand of a fused linear. Its updates are then rounded at once, so that they are read once. */
const LAST_CODES: LoraCodes = 'codesB';

/** How many bytes are copied between two turns of the event loop. Copying them takes less than a millisecond. */
const BYTES_PER_TURN = 2 ** 18;

/** Runs background jobs one at a time, and writes slots for them. The foreground can cancel a write. */
export class BackgroundWriter {
  #lastJob: Promise<void> = Promise.resolve();
  #current: { readonly block: SlotBlock; readonly slot: number } | undefined;

  /** Runs a job after the earlier ones. Drops errors: attaching the adapter will fail in the same way and report them. */
  run(job: () => Promise<unknown>): Promise<void> {
    const done = () => {};
    this.#lastJob = this.#lastJob.then(job).then(done, done);
    return this.#lastJob;
  }

  /** Writes a slot unless cancelled. Only jobs may call this. */
  async write(block: SlotBlock, slot: number, weights: AdapterWeights): Promise<void> {
    const current = { block, slot };
    this.#current = current;
    let bytes = 0;
    for (const written of block.writeInPieces(slot, weights)) {
      bytes += written;
      if (bytes < BYTES_PER_TURN) continue;
      bytes = 0;
      await nextTurn();
      if (this.#current !== current) return;
    }
    this.#current = undefined;
  }

  /** Stops the current write if it goes to this block, or to this slot of it. */
  cancel(block: SlotBlock, slot?: number): void {
    const isIt =
      this.#current?.block === block && (slot ?? this.#current.slot) === this.#current.slot;
    if (isIt) this.#current = undefined;
  }
}

/** Copies B [rank, out] to [R, out], padded with rows of zeros. */
function copyB(into: SlotValues, pair: LoraPair | undefined): void {
  if (pair) into.set(pair.b);
  into.fill(0, pair?.b.length ?? 0);
}

/** Copies the A [in, rank] of k targets to [R * k / c, in, c], each padded with columns of zeros to R. */
function copyA(
  into: SlotValues,
  { inFeatures, columns, ranks }: { inFeatures: number; columns: number; ranks: number },
  pairs: readonly (LoraPair | undefined)[],
): void {
  if (pairs.some((pair) => pair?.rank !== ranks)) into.fill(0);
  pairs.forEach((pair, k) => {
    if (!pair) return;
    const { a, rank } = pair;
    for (let first = 0; first < rank; first += columns) {
      const start = (k * ranks + first) * inFeatures;
      const count = Math.min(columns, rank - first);
      for (let i = 0; i < inFeatures; i++) {
        const [to, from] = [start + i * columns, i * rank + first];
        for (let c = 0; c < count; c++) into[to + c] = a[from + c]!;
      }
    }
  });
}
