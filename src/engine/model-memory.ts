// Where weights, cache and adapter slots live: what the engine needs of the host's memory or of a device's. Knows no
// model: tensors with a row per slot.

import type { OrtTensor } from '../ort/tensor.ts';
import type { FloatType } from '../settings/provider.ts';

export interface ModelMemory {
  /** Of values between operators, of the cache and of the adapters. */
  readonly float: FloatType;
  /** How a serving graph gets its weights. */
  readonly weightsAs: 'initializers' | 'inputs';
  /** The first slot of a range of several: any, or 0 where views begin at the start. */
  readonly rangesBegin: 'anywhere' | 'at zero';
  /** How many tokens of one sequence a run may have. */
  readonly longestRun: number;
  /** A tensor where runs read it; float32 becomes `float`. The tensor itself where that is what it is. */
  place(tensor: OrtTensor): OrtTensor;
  /** Without tensors at first. */
  createSlots(slotCount: number): SlotTensors;
}

/** Tensors [slots, …] of the memory's float type, slot by slot; zeros at first. Their order is that of `add`. */
export interface SlotTensors {
  /** More tensors, [slots, ...shape] each. */
  add(shape: readonly number[], count?: number): void;
  /** Operands over slots first … first + count - 1, [count, ...shape] each: good until the next call of anything. */
  range(first: number, count: number): readonly OrtTensor[];
  /** To be called after a run that wrote to such a range. */
  keep(first: number, count: number): void;
  /** One tensor's slot, written whole by `fill`. */
  write(tensor: number, slot: number, fill: (into: Float32Array) => void): void;
  /** At least the part that is named: the first `used` of each `stride` elements. */
  move(from: number, to: number, part?: { stride: number; used: number }): void;
  zero(slot: number): void;
  /** Gives the memory back. No binding may have a range bound. */
  release(): void;
}
