// The memory of the weights, the KV cache and the adapter slots, as the engine needs it: the host's or a device's. Works on
// tensors with one row per slot.

import type { OrtTensor, OrtType } from '../../ort/tensor.ts';
import type { FloatType } from '../../settings/provider.ts';

/** A kind of memory, and how serving graphs use it. */
export interface ModelMemory {
  /** The float type of values between operators, of the cache and of the adapters. */
  readonly float: FloatType;
  /** How a serving graph gets its weights. */
  readonly weightsAs: 'initializers' | 'inputs';
  /** The slot at which a range of several slots may start. On a device, views start at the beginning of their memory. */
  readonly rangesStartAt: 'any slot' | 'slot 0';
  /** How many tokens of one sequence a run may have. */
  readonly maxTokensPerRun: number;
  /** Copies a tensor to this memory, float32 as `float`. Returns the tensor itself if it is already there. */
  upload(tensor: OrtTensor): OrtTensor;
  /** Creates slots without any tensors yet. Default type: `float`. Devices support no other. */
  createSlots(slotCount: number, type?: 'int8' | 'float16'): SlotTensors;
}

/** The elements of one slot of a tensor. */
export type SlotValues = Float32Array | Int8Array;

/** One slot of a tensor. */
export interface SlotTensor {
  readonly shape: readonly number[];
  /** Default: that of the slots. */
  readonly type?: 'int8';
}

/** Tensors [slots, …], which are read and written slot by slot. They start as zeros. */
export interface SlotTensors {
  /** Adds tensors [slots, ...shape]. */
  add(tensors: readonly SlotTensor[]): void;
  /**
   * All tensors over slots first … first + count - 1, [count, ...shape] each. Valid until the next call of any method.
   */
  range(first: number, count: number): readonly OrtTensor[];
  /** Keeps what a run has written to a range. Must be called after such a run. */
  writeBack(first: number, count: number): void;
  /** Writes one slot of one tensor. `fill` receives its elements, floats on a device, and must set all of them. */
  write(tensor: number, slot: number, fill: (into: SlotValues) => void): void;
  /** Copies a slot, or at least the given part of it: the first `used` of each `stride` elements. */
  move(from: number, to: number, part?: { stride: number; used: number }): void;
  zero(slot: number): void;
  /** Copies to and from the host. Undefined on a device. */
  readonly parts?: SlotParts;
  /** Frees the memory. Unbind all its ranges first. */
  release(): void;
}

/** The elements start … start + count - 1 of each `stride` elements of a slot. */
export interface SlotPart {
  readonly stride: number;
  readonly start: number;
  readonly count: number;
}

/** Copies a part of a slot as bytes, tensor after tensor. */
export interface SlotParts {
  /** The element type of all tensors. */
  readonly type: OrtType;
  partBytes(part: SlotPart): number;
  readPart(slot: number, part: SlotPart, into: Uint8Array): void;
  writePart(slot: number, part: SlotPart, from: Uint8Array): void;
}
