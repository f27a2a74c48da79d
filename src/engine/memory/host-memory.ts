// The host's memory for a model. Tensors are not copied, and a range of slots is a view.

import { assert } from '../../common/assert.ts';
import { elementCount } from '../../common/tensor.ts';
import { bytesOf, hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import type { ModelMemory, SlotPart, SlotParts, SlotTensors, SlotValues } from './model-memory.ts';

/** The memory of the CPU provider. */
export const HOST_MEMORY: ModelMemory = {
  float: 'float32',
  weightsAs: 'initializers',
  rangesStartAt: 'any slot',
  maxTokensPerRun: Number.POSITIVE_INFINITY,
  upload: (tensor) => tensor,
  createSlots: (slotCount, type) => new HostSlots(slotCount, type ?? 'float32'),
};

/** The longest array that every supported Node allows. A single tensor may be larger. */
const MAX_BLOCK_BYTES = 2 ** 30;

type HostSlotType = 'float32' | 'float16' | 'int8';

interface HostSlotTensor {
  /** [slots, ...shape] */
  readonly tensor: OrtTensor<HostSlotType>;
  /** The tensor's memory. */
  readonly bytes: Uint8Array;
  /** The shape and the element count of one slot. */
  readonly shape: readonly number[];
  readonly size: number;
}

class HostSlots implements SlotTensors, SlotParts {
  readonly type: HostSlotType;
  readonly parts = this;
  readonly #slotCount: number;
  readonly #tensors: HostSlotTensor[] = [];
  readonly #ranges = new Map<string, readonly OrtTensor[]>();

  constructor(slotCount: number, type: HostSlotType) {
    this.#slotCount = slotCount;
    this.type = type;
  }

  /**
   * Allocates many tensors in one block, because each large allocation triggers the garbage collector: a tenth of a second for
   * the sixty tensors of a small model. Pages are touched only when slots are written.
   */
  add(shape: readonly number[], count = 1, type: HostSlotType = this.type): void {
    const size = elementCount(shape);
    const whole = [this.#slotCount, ...shape];
    const perBlock = Math.max(1, Math.floor(MAX_BLOCK_BYTES / bytesOf(type, whole)));
    for (let left = count; left > 0; left -= perBlock) {
      const inBlock = Math.min(perBlock, left);
      const block = hostTensor(type, [inBlock, ...whole]);
      for (let i = 0; i < inBlock; i++) {
        const tensor = block.view(whole, i * elementCount(whole));
        const { buffer, byteOffset, byteLength } = tensor.data;
        const bytes = new Uint8Array(buffer, byteOffset, byteLength);
        this.#tensors.push({ tensor, bytes, shape, size });
      }
    }
  }

  range(first: number, count: number): readonly OrtTensor[] {
    const id = `${first}+${count}`;
    const known = this.#ranges.get(id);
    if (known) return known;
    const views = this.#tensors.map(({ tensor, shape, size }) =>
      tensor.view([count, ...shape], first * size),
    );
    this.#ranges.set(id, views);
    return views;
  }

  /** Does nothing, because runs write to the slots themselves. */
  writeBack(): void {}

  write(index: number, slot: number, fill: (into: SlotValues) => void): void {
    const { tensor, size } = this.#tensors[index]!;
    const { data } = tensor;
    assert(!(data instanceof Uint16Array), 'halves are written by runs');
    fill(data.subarray(slot * size, (slot + 1) * size));
  }

  move(from: number, to: number, part?: { stride: number; used: number }): void {
    for (const { tensor, size } of this.#tensors) {
      const { data } = tensor;
      const { stride, used } = part ?? { stride: size, used: size };
      for (let start = 0; start < size; start += stride) {
        const source = from * size + start;
        data.copyWithin(to * size + start, source, source + used);
      }
    }
  }

  zero(slot: number): void {
    for (const { tensor, size } of this.#tensors) {
      tensor.data.fill(0, slot * size, (slot + 1) * size);
    }
  }

  /** Does nothing, because the garbage collector frees host memory. */
  release(): void {}

  partBytes({ stride, count }: SlotPart): number {
    const elements = this.#tensors.reduce((sum, { size }) => sum + (size / stride) * count, 0);
    return bytesOf(this.type, [elements]);
  }

  readPart(slot: number, part: SlotPart, into: Uint8Array): void {
    let at = 0;
    for (const run of this.#runsOf(slot, part)) {
      into.set(run, at);
      at += run.length;
    }
  }

  writePart(slot: number, part: SlotPart, from: Uint8Array): void {
    let at = 0;
    for (const run of this.#runsOf(slot, part)) {
      run.set(from.subarray(at, at + run.length));
      at += run.length;
    }
  }

  /** Yields every contiguous run of bytes of a part. */
  *#runsOf(slot: number, { stride, start, count }: SlotPart): Generator<Uint8Array> {
    const elementBytes = bytesOf(this.type, [1]);
    for (const { bytes, size } of this.#tensors) {
      for (let at = slot * size + start; at < (slot + 1) * size; at += stride)
        yield bytes.subarray(at * elementBytes, (at + count) * elementBytes);
    }
  }
}
