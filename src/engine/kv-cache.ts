// The KV cache: for each layer one key and one value tensor [slots, KV, maxSeq, hd], made once.
// A slot is a row; a run reads and appends to a range of slots. Knows no sequences.
import { assert } from '../assert.ts';
import type { DecoderConfig } from '../model/config.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { elementCount } from '../tensor.ts';
import type { SlotId } from './batch.ts';

type FloatTensor = OrtTensor<'float32'>;

/** A layer's operands over a range of slots. */
export interface KvLayer {
  readonly key: FloatTensor;
  readonly value: FloatTensor;
}

/** Fits an array's length on every Node; a slot's half of one layer may be more. */
const MAX_BLOCK_BYTES = 2 ** 30;

export class KvCache {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  readonly #heads: number;
  readonly #headDim: number;
  readonly #layers: KvLayer[];
  readonly #views = new Map<string, readonly KvLayer[]>();

  constructor(config: DecoderConfig, slotCount: number, maxSeqLength: number) {
    this.slotCount = slotCount;
    this.maxSeqLength = maxSeqLength;
    this.#heads = config.kvHeadCount;
    this.#headDim = config.headDim;
    const shape = [slotCount, this.#heads, maxSeqLength, this.#headDim];
    const halves = allocate(2 * config.layerCount, shape);
    this.#layers = Array.from({ length: config.layerCount }, (_, layer) => ({
      key: halves[2 * layer]!,
      value: halves[2 * layer + 1]!,
    }));
  }

  /** Bytes of all slots at their full length. */
  static byteSize(config: DecoderConfig, slotCount: number, maxSeqLength: number): number {
    const perToken = 2 * config.layerCount * config.kvHeadCount * config.headDim * 4;
    return perToken * slotCount * maxSeqLength;
  }

  /** The operands for `count` slots from `first` on, [count, KV, maxSeq, hd] each. */
  range(first: number, count: number): readonly KvLayer[] {
    const id = `${first}+${count}`;
    const known = this.#views.get(id);
    if (known) return known;
    const shape = [count, this.#heads, this.maxSeqLength, this.#headDim];
    const offset = first * this.#slotElements;
    const views = this.#layers.map(({ key, value }) => ({
      key: key.view(shape, offset),
      value: value.view(shape, offset),
    }));
    this.#views.set(id, views);
    return views;
  }

  /** Copies the first `length` positions of a slot over another one. */
  move(from: SlotId, to: SlotId, length: number): void {
    assert(length <= this.maxSeqLength, 'a slot holds fewer tokens than are moved');
    const headElements = this.maxSeqLength * this.#headDim;
    for (const { key, value } of this.#layers) {
      for (const { data } of [key, value]) {
        for (let head = 0; head < this.#heads; head++) {
          const source = from * this.#slotElements + head * headElements;
          const target = to * this.#slotElements + head * headElements;
          data.copyWithin(target, source, source + length * this.#headDim);
        }
      }
    }
  }

  /** Zeros a slot whose contents must not be met again: a NaN under a zero weight is still a NaN. */
  zero(slot: SlotId): void {
    for (const { key, value } of this.#layers) {
      for (const { data } of [key, value]) {
        data.fill(0, slot * this.#slotElements, (slot + 1) * this.#slotElements);
      }
    }
  }

  get #slotElements(): number {
    return this.#heads * this.maxSeqLength * this.#headDim;
  }
}

/**
 * Tensors of the shape, many in a block: each block that the collector hears of makes it look for garbage, a tenth of
 * a second for the sixty of a small model. Pages are touched only as sequences grow.
 */
function allocate(count: number, shape: readonly number[]): FloatTensor[] {
  const size = elementCount(shape);
  const perBlock = Math.max(1, Math.floor(MAX_BLOCK_BYTES / (4 * size)));
  const tensors: FloatTensor[] = [];
  while (tensors.length < count) {
    const inBlock = Math.min(perBlock, count - tensors.length);
    const block = hostTensor('float32', [inBlock, ...shape]);
    for (let i = 0; i < inBlock; i++) tensors.push(block.view(shape, i * size));
  }
  return tensors;
}
