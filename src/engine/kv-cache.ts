// The KV cache: one key and one value tensor [slots, kvHeads, maxSeq, headDim] per layer, allocated once. A slot is a row; a
// run reads a range of slots and appends to it. Elements are floats, or bytes with a scale per layer, half, head and channel.
// The caller decides which memory holds it, and which sequence uses a slot.
import { assert } from '../common/assert.ts';
import type { DecoderConfig } from '../model/config.ts';
import type { KvType } from '../model/kv-attention.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../ort/tensor.ts';
import type { SlotId } from './batch.ts';
import { HOST_MEMORY } from './memory/host-memory.ts';
import type { ModelMemory, SlotPart, SlotParts, SlotTensors } from './memory/model-memory.ts';

/** The operands of a layer over a range of slots, [count, kvHeads, maxSeq, headDim] each. */
export interface KvLayer {
  readonly key: OrtTensor;
  readonly value: OrtTensor;
}

/** The size of a cache, and the type of its elements. */
interface KvShape {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  readonly type: KvType;
}

interface KvCacheOptions {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  /** The memory that holds it. Default: the host's. */
  readonly memory?: ModelMemory;
  /** The scales of an int8 cache, see `kvScaleCount`. Absent: the cache holds floats. */
  readonly scales?: Float32Array<ArrayBuffer> | undefined;
  /** Default: `int8` with scales, else `f32`, the floats of the memory. */
  readonly type?: KvType;
}

/** The keys and values of all slots. */
export class KvCache {
  readonly slotCount: number;
  readonly maxSeqLength: number;
  /** The scales [1, kvHeads, 1, headDim] of each layer. Undefined if the cache holds floats. */
  readonly scales: readonly KvLayer[] | undefined;
  readonly type: KvType;
  readonly headDim: number;
  readonly layerCount: number;
  /** Key and value alternate, layer by layer. */
  readonly #tensors: SlotTensors;
  readonly #layers = new WeakMap<readonly OrtTensor[], readonly KvLayer[]>();

  constructor(config: DecoderConfig, options: KvCacheOptions) {
    const { kvHeadCount, headDim, layerCount } = config;
    const { slotCount, maxSeqLength, memory = HOST_MEMORY, scales } = options;
    this.slotCount = slotCount;
    this.maxSeqLength = maxSeqLength;
    this.headDim = headDim;
    this.layerCount = layerCount;
    this.type = options.type ?? (scales ? 'int8' : 'f32');
    const elements = ({ int8: 'int8', f16: 'float16', f32: undefined } as const)[this.type];
    this.#tensors = memory.createSlots(slotCount, elements);
    const shape = [kvHeadCount, maxSeqLength, headDim];
    this.#tensors.add(Array.from({ length: 2 * layerCount }, () => ({ shape })));
    this.scales = scales && scaleTensors(config, scales);
  }

  /** The bytes of all slots at full length. A device may hold floats of half that size. */
  static byteSize(config: DecoderConfig, { slotCount, maxSeqLength, type }: KvShape): number {
    const elements = 2 * config.layerCount * config.kvHeadCount * config.headDim;
    return elements * ELEMENT_BYTES[type] * slotCount * maxSeqLength;
  }

  /** Returns the operands for one slot, or for several from slot 0 on. Valid until the next call. */
  range(first: number, count: number): readonly KvLayer[] {
    const tensors = this.#tensors.range(first, count);
    const known = this.#layers.get(tensors);
    if (known) return known;
    const layers = toLayers(tensors);
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
    const stride = this.maxSeqLength * this.headDim;
    this.#tensors.move(from, to, { stride, used: length * this.headDim });
  }

  /** Copies positions to the host and back. Undefined on a device. */
  get positions(): KvPositions | undefined {
    const { parts } = this.#tensors;
    return parts && new KvPositions(parts, this);
  }

  /** Zeros a slot that may contain a NaN, which would spread even with an attention weight of zero. The byte 0 also means 0. */
  zero(slot: SlotId): void {
    this.#tensors.zero(slot);
  }
}

/** The part of a cache's shape that finds a position. */
type PositionShape = Pick<KvCache, 'maxSeqLength' | 'headDim' | 'layerCount'>;

/** Copies single positions of slots, with the keys and values of all layers. */
export class KvPositions {
  readonly type: OrtType;
  /** The bytes of one position. */
  readonly byteSize: number;
  /** The bytes of one position in one layer. Layers follow each other. */
  readonly layerByteSize: number;
  readonly #parts: SlotParts;
  readonly #maxSeqLength: number;
  readonly #headDim: number;

  constructor(parts: SlotParts, { maxSeqLength, headDim, layerCount }: PositionShape) {
    this.#parts = parts;
    this.#maxSeqLength = maxSeqLength;
    this.#headDim = headDim;
    this.type = parts.type;
    this.byteSize = parts.partBytes(this.#part(0, 1));
    this.layerByteSize = this.byteSize / layerCount;
  }

  /** Copies positions from `start` on into `into`, as many as fit. */
  read(slot: SlotId, start: number, into: Uint8Array): void {
    this.#parts.readPart(slot, this.#part(start, into.byteLength / this.byteSize), into);
  }

  /** Copies back what `read` has copied. */
  write(slot: SlotId, start: number, from: Uint8Array): void {
    this.#parts.writePart(slot, this.#part(start, from.byteLength / this.byteSize), from);
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

const ELEMENT_BYTES: Readonly<Record<KvType, number>> = { int8: 1, f16: 2, f32: 4 };

/** Pairs each layer's key with its value, from tensors in which they alternate. */
function toLayers(tensors: readonly OrtTensor[]): KvLayer[] {
  return Array.from({ length: tensors.length / 2 }, (_, layer) => ({
    key: tensors[2 * layer]!,
    value: tensors[2 * layer + 1]!,
  }));
}

function scaleTensors(
  { layerCount, kvHeadCount, headDim }: DecoderConfig,
  scales: Float32Array<ArrayBuffer>,
): KvLayer[] {
  const size = kvHeadCount * headDim;
  const whole = hostTensor('float32', [2 * layerCount, size], scales);
  const shape = [1, kvHeadCount, 1, headDim];
  return toLayers(Array.from({ length: 2 * layerCount }, (_, i) => whole.view(shape, i * size)));
}
