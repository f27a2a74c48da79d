// The KV cache: one key and one value tensor [slots, kvHeads, maxSeq, headDim] per layer, allocated once. A slot is a
// row; a run reads a range of slots and appends to it. Knows no sequences, and not which memory it is in.
import { assert } from '../common/assert.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { OrtTensor, OrtType } from '../ort/tensor.ts';
import type { SlotId } from './batch.ts';
import { HOST_MEMORY } from './memory/host-memory.ts';
import type { ModelMemory, SlotPart, SlotParts, SlotTensors } from './memory/model-memory.ts';

/** The operands of a layer over a range of slots, [count, kvHeads, maxSeq, headDim] each. */
export interface KvLayer {
  readonly key: OrtTensor;
  readonly value: OrtTensor;
}

/** The keys and values of all slots. */
export class KvCache {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  readonly #headDim: number;
  /** The key and the value of layer 0, then those of layer 1, … */
  readonly #tensors: SlotTensors;
  readonly #layers = new WeakMap<readonly OrtTensor[], readonly KvLayer[]>();

  constructor(
    config: DecoderConfig,
    slotCount: number,
    maxSeqLength: number,
    memory: ModelMemory = HOST_MEMORY,
  ) {
    const { kvHeadCount, headDim, layerCount } = config;
    this.slotCount = slotCount;
    this.maxSeqLength = maxSeqLength;
    this.#headDim = headDim;
    this.#tensors = memory.createSlots(slotCount);
    this.#tensors.add([kvHeadCount, maxSeqLength, headDim], 2 * layerCount);
  }

  /** The float32 bytes of all slots at their full length. */
  static byteSize(config: DecoderConfig, slotCount: number, maxSeqLength: number): number {
    const perToken = 2 * config.layerCount * config.kvHeadCount * config.headDim * 4;
    return perToken * slotCount * maxSeqLength;
  }

  /** The operands for one slot, or for several from slot 0 on. Valid until the next call. */
  range(first: number, count: number): readonly KvLayer[] {
    const tensors = this.#tensors.range(first, count);
    const known = this.#layers.get(tensors);
    if (known) return known;
    const layers = Array.from({ length: tensors.length / 2 }, (_, layer) => ({
      key: tensors[2 * layer]!,
      value: tensors[2 * layer + 1]!,
    }));
    this.#layers.set(tensors, layers);
    return layers;
  }

  /** Keeps what a run has appended to a range. Must be called after such a run. */
  writeBack(first: number, count: number): void {
    this.#tensors.writeBack(first, count);
  }

  /** Copies the first `length` positions of a slot to another one. */
  move(from: SlotId, to: SlotId, length: number): void {
    assert(length <= this.maxSeqLength, 'a slot holds fewer tokens than are moved');
    const stride = this.maxSeqLength * this.#headDim;
    this.#tensors.move(from, to, { stride, used: length * this.#headDim });
  }

  /** Copies positions to the host and back; undefined on a device. */
  get positions(): KvPositions | undefined {
    const { parts } = this.#tensors;
    return parts && new KvPositions(parts, this.maxSeqLength, this.#headDim);
  }

  /** Zeros a slot that may contain a NaN, which would spread even with an attention weight of zero. */
  zero(slot: SlotId): void {
    this.#tensors.zero(slot);
  }
}

/** Copies of single positions of slots, with the keys and values of all layers. */
export class KvPositions {
  readonly type: OrtType;
  /** The bytes of one position. */
  readonly byteSize: number;
  readonly #parts: SlotParts;
  readonly #maxSeqLength: number;
  readonly #headDim: number;

  constructor(parts: SlotParts, maxSeqLength: number, headDim: number) {
    this.#parts = parts;
    this.#maxSeqLength = maxSeqLength;
    this.#headDim = headDim;
    this.type = parts.type;
    this.byteSize = parts.byteSize(this.#part(0, 1));
  }

  /** Copies positions from `start` on, as many as `into` has room for. */
  read(slot: SlotId, start: number, into: Uint8Array): void {
    this.#parts.read(slot, this.#part(start, into.byteLength / this.byteSize), into);
  }

  /** Copies back what `read` has copied. */
  write(slot: SlotId, start: number, from: Uint8Array): void {
    this.#parts.write(slot, this.#part(start, from.byteLength / this.byteSize), from);
  }

  #part(start: number, count: number): SlotPart {
    const headDim = this.#headDim;
    return {
      stride: this.#maxSeqLength * headDim,
      start: start * headDim,
      count: count * headDim,
    };
  }
}
