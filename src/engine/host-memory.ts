// The host's memory for a model: what is there stays there, a range of slots is a view, a copy is a copy.

import { elementCount } from '../common/tensor.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import type { ModelMemory, SlotTensors } from './model-memory.ts';

export const HOST_MEMORY: ModelMemory = {
  float: 'float32',
  weightsAs: 'initializers',
  rangesBegin: 'anywhere',
  longestRun: Number.POSITIVE_INFINITY,
  place: (tensor) => tensor,
  createSlots: (slotCount) => new HostSlots(slotCount),
};

/** Fits an array's length on every Node; a tensor may be more. */
const MAX_BLOCK_BYTES = 2 ** 30;

class HostSlots implements SlotTensors {
  readonly #slotCount: number;
  readonly #tensors: OrtTensor<'float32'>[] = [];
  /** By tensor: of one slot. */
  readonly #shapes: (readonly number[])[] = [];
  readonly #sizes: number[] = [];
  readonly #ranges = new Map<string, readonly OrtTensor[]>();

  constructor(slotCount: number) {
    this.#slotCount = slotCount;
  }

  /**
   * Many in a block: each block that the collector hears of makes it look for garbage, a tenth of a second for the
   * sixty of a small model. Pages are touched only when slots are written.
   */
  add(shape: readonly number[], count = 1): void {
    const size = elementCount(shape);
    const whole = [this.#slotCount, ...shape];
    const perBlock = Math.max(1, Math.floor(MAX_BLOCK_BYTES / (4 * elementCount(whole))));
    for (let left = count; left > 0; left -= perBlock) {
      const inBlock = Math.min(perBlock, left);
      const block = hostTensor('float32', [inBlock, ...whole]);
      for (let i = 0; i < inBlock; i++) {
        this.#tensors.push(block.view(whole, i * elementCount(whole)));
        this.#shapes.push(shape);
        this.#sizes.push(size);
      }
    }
  }

  range(first: number, count: number): readonly OrtTensor[] {
    const id = `${first}+${count}`;
    const known = this.#ranges.get(id);
    if (known) return known;
    const views = this.#tensors.map((tensor, i) =>
      tensor.view([count, ...this.#shapes[i]!], first * this.#sizes[i]!),
    );
    this.#ranges.set(id, views);
    return views;
  }

  keep(): void {}

  write(tensor: number, slot: number, fill: (into: Float32Array) => void): void {
    const size = this.#sizes[tensor]!;
    fill(this.#tensors[tensor]!.data.subarray(slot * size, (slot + 1) * size));
  }

  move(from: number, to: number, part?: { stride: number; used: number }): void {
    this.#tensors.forEach(({ data }, i) => {
      const size = this.#sizes[i]!;
      const { stride, used } = part ?? { stride: size, used: size };
      for (let start = 0; start < size; start += stride) {
        const source = from * size + start;
        data.copyWithin(to * size + start, source, source + used);
      }
    });
  }

  zero(slot: number): void {
    this.#tensors.forEach(({ data }, i) => {
      const size = this.#sizes[i]!;
      data.fill(0, slot * size, (slot + 1) * size);
    });
  }

  /** The collector finds out. */
  release(): void {}
}
