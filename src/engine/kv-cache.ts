// The KV cache: for each layer one key and one value tensor [slots, KV, maxSeq, hd], made once.
// A slot is a row; a run reads and appends to a range of slots. Knows no sequences, and not where the memory is.
import { assert } from '../common/assert.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { OrtTensor } from '../ort/tensor.ts';
import type { SlotId } from './batch.ts';
import { HOST_MEMORY } from './host-memory.ts';
import type { ModelMemory, SlotTensors } from './model-memory.ts';

/** A layer's operands over a range of slots, [count, KV, maxSeq, hd] each. */
export interface KvLayer {
  readonly key: OrtTensor;
  readonly value: OrtTensor;
}

export class KvCache {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  readonly #headDim: number;
  /** Key and value of layer 0, of layer 1, … */
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

  /** float32 bytes of all slots at their full length. */
  static byteSize(config: DecoderConfig, slotCount: number, maxSeqLength: number): number {
    const perToken = 2 * config.layerCount * config.kvHeadCount * config.headDim * 4;
    return perToken * slotCount * maxSeqLength;
  }

  /** The operands for `count` slots from `first` on: one, or several from slot 0. Good until the next call. */
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

  /** To be called when a run has appended to such a range. */
  keep(first: number, count: number): void {
    this.#tensors.keep(first, count);
  }

  /** Copies the first `length` positions of a slot over another one. */
  move(from: SlotId, to: SlotId, length: number): void {
    assert(length <= this.maxSeqLength, 'a slot holds fewer tokens than are moved');
    const stride = this.maxSeqLength * this.#headDim;
    this.#tensors.move(from, to, { stride, used: length * this.#headDim });
  }

  /** Zeros a slot whose contents must not be met again: a NaN under a zero weight is still a NaN. */
  zero(slot: SlotId): void {
    this.#tensors.zero(slot);
  }
}
