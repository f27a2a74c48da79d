// The host's memory for a model. Tensors are not copied, and a range of slots is a view.

import { assert } from '../../common/assert.ts';
import { elementCount } from '../../common/tensor.ts';
import {
  bytesOf,
  type HostMemory,
  hostMemory,
  type OrtTensor,
  tensorOver,
} from '../../ort/tensor.ts';
import type {
  ModelMemory,
  SlotPart,
  SlotParts,
  SlotTensor,
  SlotTensors,
  SlotValues,
} from './model-memory.ts';

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
/** A cache line, and a multiple of every element. */
const ALIGNMENT_BYTES = 64;

const ARRAYS = { float32: Float32Array, float16: Uint16Array, int8: Int8Array } as const;

type HostSlotType = keyof typeof ARRAYS;

/** A tensor [slots, ...shape] without the runtime's part, of which only ranges have one. */
interface HostSlotTensor {
  readonly type: HostSlotType;
  readonly memory: HostMemory;
  readonly byteOffset: number;
  /** All its elements. */
  readonly data: InstanceType<(typeof ARRAYS)[HostSlotType]>;
  /** The same memory. */
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
   * Allocates the tensors in one block, because each large allocation triggers the garbage collector: a tenth of a second for
   * the sixty tensors of a small model. Pages are touched only when slots are written.
   */
  add(tensors: readonly SlotTensor[]): void {
    const sized = tensors.map(({ shape, type = this.type }) => {
      const byteLength = bytesOf(type, [this.#slotCount, ...shape]);
      return {
        type,
        shape,
        paddedBytes: Math.ceil(byteLength / ALIGNMENT_BYTES) * ALIGNMENT_BYTES,
      };
    });
    for (const block of splitBlocks(sized)) this.#addBlock(block);
  }

  #addBlock(tensors: readonly SizedTensor[]): void {
    const memory = hostMemory(tensors.reduce((sum, { paddedBytes }) => sum + paddedBytes, 0));
    let byteOffset = 0;
    for (const { type, shape, paddedBytes } of tensors) {
      const size = elementCount(shape);
      const data = new ARRAYS[type](memory.buffer, byteOffset, this.#slotCount * size);
      const bytes = new Uint8Array(memory.buffer, byteOffset, data.byteLength);
      this.#tensors.push({ type, memory, byteOffset, data, bytes, shape, size });
      byteOffset += paddedBytes;
    }
  }

  range(first: number, count: number): readonly OrtTensor[] {
    const id = `${first}+${count}`;
    const known = this.#ranges.get(id);
    if (known) return known;
    const views = this.#tensors.map(({ type, memory, byteOffset, data, shape, size }) => {
      const start = byteOffset + first * size * data.BYTES_PER_ELEMENT;
      return tensorOver(type, [count, ...shape], { memory, byteOffset: start });
    });
    this.#ranges.set(id, views);
    return views;
  }

  /** Does nothing, because runs write to the slots themselves. */
  writeBack(): void {}

  write(index: number, slot: number, fill: (into: SlotValues) => void): void {
    const { data, size } = this.#tensors[index]!;
    assert(!(data instanceof Uint16Array), 'halves are written by runs');
    fill(data.subarray(slot * size, (slot + 1) * size));
  }

  move(from: number, to: number, part?: { stride: number; used: number }): void {
    for (const { data, size } of this.#tensors) {
      const { stride, used } = part ?? { stride: size, used: size };
      for (let start = 0; start < size; start += stride) {
        const source = from * size + start;
        data.copyWithin(to * size + start, source, source + used);
      }
    }
  }

  zero(slot: number): void {
    for (const { data, size } of this.#tensors) data.fill(0, slot * size, (slot + 1) * size);
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

interface SizedTensor extends Pick<HostSlotTensor, 'type' | 'shape'> {
  readonly paddedBytes: number;
}

/** Splits tensors into blocks that are not too long. */
function splitBlocks(tensors: readonly SizedTensor[]): SizedTensor[][] {
  const blocks: SizedTensor[][] = [];
  let left = 0;
  for (const tensor of tensors) {
    if (tensor.paddedBytes > left) {
      blocks.push([]);
      left = MAX_BLOCK_BYTES;
    }
    blocks.at(-1)!.push(tensor);
    left -= tensor.paddedBytes;
  }
  return blocks;
}
