// A block of adapter slots: the operands of all slots in one form, and which adapter's weights each slot holds. A slot can be
// written in the background, so that no step waits while a whole adapter is copied. `adapter-slots.ts` decides which adapters
// are attached.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AdapterWeights, LoraPair } from '../../../adapters/peft/weights.ts';
import { elementCount } from '../../common/tensor.ts';
import type { DecoderConfig } from '../../model/config.ts';
import { type LoraCodes, writeCodesA, writeCodesB, writeScales } from '../../model/lora-codes.ts';
import { adaptedTargets } from '../../model/lora-graph.ts';
import type { RowPacking } from '../../model/row-weights.ts';
import type { OrtTensor } from '../../ort/tensor.ts';
import type { SlotTensors, SlotValues } from '../memory/model-memory.ts';
import { type SlotForm, type SlotOperand, slotOperands } from './slot-form.ts';

/** An operand over a range of slots: A [slots, 1, in, R * k], B [slots, 1, R, out], or a vector [slots, width]. */
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
  /** Index = slot. Undefined if the slot is empty or half written. */
  readonly #contents: (AdapterWeights | undefined)[] = [];

  private constructor(form: SlotForm, operands: readonly SlotOperand[], tensors: SlotTensors) {
    this.form = form;
    this.#operands = operands;
    this.#tensors = tensors;
  }

  /** A block without operands, for the time before the first adapter. */
  static empty(tensors: SlotTensors): SlotBlock {
    return new SlotBlock({ rank: 0, targets: [], parts: [] }, [], tensors);
  }

  /** Allocates the operands of a form in `tensors`. */
  static create(
    config: DecoderConfig,
    form: SlotForm,
    packing: RowPacking,
    tensors: SlotTensors,
  ): SlotBlock {
    const operands = [...slotOperands(config, form, packing)];
    tensors.add(operands);
    return new SlotBlock(form, operands, tensors);
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

  holds(slot: number, weights: AdapterWeights): boolean {
    return this.#contents[slot]?.digest === weights.digest;
  }

  isEmpty(slot: number): boolean {
    return this.#contents[slot] === undefined;
  }

  /** The slot at or after `first` that holds the adapter. */
  find(weights: AdapterWeights, first: number): number | undefined {
    const slot = this.#contents.findIndex(
      (held, i) => i >= first && held?.digest === weights.digest,
    );
    return slot < 0 ? undefined : slot;
  }

  write(slot: number, weights: AdapterWeights): void {
    for (const _ of this.writeInPieces(slot, weights));
  }

  /**
   * Writes a whole slot, one operand at a time, and yields the bytes of each. Linears and ranks that the adapter lacks
   * become zeros. The slot holds the adapter once the generator is done.
   */
  *writeInPieces(slot: number, weights: AdapterWeights): Generator<number> {
    this.#contents[slot] = undefined;
    for (const [index, operand] of this.#operands.entries()) {
      this.#tensors.write(index, slot, (into) => this.#fill(operand, weights, into));
      yield Float32Array.BYTES_PER_ELEMENT * elementCount(operand.shape); // read from the adapter
    }
    this.#contents[slot] = weights;
  }

  /** Sets all elements of one operand. */
  #fill({ source, shape }: SlotOperand, weights: AdapterWeights, into: SlotValues): void {
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
      const adapted = adaptedTargets(this.form.targets, source.a);
      copyA(
        into,
        shape.at(-1)!,
        adapted.map((target) => pairs[target]),
      );
    } else {
      into.fill(0);
      const at = { ranks: this.form.rank, inFeatures: shape.at(-1)!, start: 0 };
      source.parts.forEach(({ target, width }, i) => {
        const pair = pairs[target];
        if (pair) WRITE_CODES[source.codes](into, pair, { ...at, i });
        at.start += width;
      });
    }
  }

  move(from: number, to: number): void {
    this.#tensors.move(from, to);
    this.#contents[to] = this.#contents[from];
    this.#contents[from] = undefined;
  }

  /** Frees the memory. Unbind all its ranges first. */
  release(): void {
    this.#tensors.release();
  }
}

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

/** Writes one part of an operand with 8 bits: the i-th, whose outputs begin at `start`. */
const WRITE_CODES: Record<
  LoraCodes,
  (
    into: SlotValues,
    pair: LoraPair,
    at: { ranks: number; inFeatures: number; i: number; start: number },
  ) => void
> = {
  codesA: (into, pair, { ranks, inFeatures, i }) =>
    writeCodesA(into.subarray(i * ranks * inFeatures), pair),
  scales: (into, pair, { ranks, i }) => writeScales(into.subarray(i * ranks), pair),
  codesB: (into, pair, { ranks, start }) => writeCodesB(into.subarray(start * ranks), pair, ranks),
};

/** Copies B [rank, out] to [R, out], padded with rows of zeros. */
function copyB(into: SlotValues, pair: LoraPair | undefined): void {
  if (pair) into.set(pair.b);
  into.fill(0, pair?.b.length ?? 0);
}

/** Copies the A [in, rank] of k targets to [in, R * k] side by side, each padded with columns of zeros. */
function copyA(into: SlotValues, cols: number, pairs: readonly (LoraPair | undefined)[]): void {
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
