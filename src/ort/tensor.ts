// Tensors of ONNX Runtime over memory that JavaScript owns. Knows element types, shapes and bounds; knows
// nothing of sessions.
import { assert } from '../common/assert.ts';
import { elementCount } from '../common/tensor.ts';
import { addressOf } from './ffi.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { ortGet, ortVoid } from './runtime.ts';

interface TensorData {
  float32: Float32Array<ArrayBuffer>;
  /** Bits of IEEE half precision. */
  float16: Uint16Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  int64: BigInt64Array<ArrayBuffer>;
  uint8: Uint8Array<ArrayBuffer>;
  int8: Int8Array<ArrayBuffer>;
  /** 0 or 1 per element. */
  bool: Uint8Array<ArrayBuffer>;
}

export type OrtType = keyof TensorData;

/** Type → its number in `ONNXTensorElementDataType` and its array. */
const TYPES = {
  float32: { code: 1, array: Float32Array },
  uint8: { code: 2, array: Uint8Array },
  int8: { code: 3, array: Int8Array },
  int32: { code: 6, array: Int32Array },
  int64: { code: 7, array: BigInt64Array },
  bool: { code: 9, array: Uint8Array },
  float16: { code: 10, array: Uint16Array },
} as const satisfies Record<OrtType, { code: number; array: unknown }>;

export function typeCode(type: OrtType): number {
  return TYPES[type].code;
}

/** The type of a number of `ONNXTensorElementDataType`; undefined where we have none. */
export function typeOfCode(code: number): OrtType | undefined {
  return (Object.keys(TYPES) as OrtType[]).find((type) => TYPES[type].code === code);
}

export function bytesOf(type: OrtType, shape: readonly number[]): number {
  return elementCount(shape) * TYPES[type].array.BYTES_PER_ELEMENT;
}

/** Memory at a fixed address, alive as long as `owner` is referenced. */
export interface Memory {
  readonly owner: object;
  readonly address: bigint;
  readonly byteLength: number;
  /** The memory itself where JavaScript may read and write it. */
  readonly buffer?: ArrayBuffer;
  readonly device?: DeviceMemory;
}

/** A device's memory: its address may be a handle (a WGPUBuffer), to which nothing can be added. */
export interface DeviceMemory {
  /** `OrtMemoryInfo *`, alive as long as the process. */
  readonly info: bigint;
  /** Held by its owner and by the tensors over it. */
  readonly handle: Handle;
}

/**
 * A tensor: an OrtValue over host memory, or over a device's. Its memory lives as long as anything refers to it,
 * a released tensor's views and bindings included.
 */
export class OrtTensor<T extends OrtType = OrtType> {
  readonly type: T;
  readonly shape: readonly number[];
  readonly #handle: Handle;
  readonly #memory: Memory;
  readonly #byteOffset: number;

  /** For the tensor makers of this folder. */
  constructor(
    info: { type: T; shape: readonly number[] },
    handle: Handle,
    place: { memory: Memory; byteOffset: number },
  ) {
    this.type = info.type;
    this.shape = info.shape;
    this.#handle = handle;
    this.#memory = place.memory;
    this.#byteOffset = place.byteOffset;
    releaseWhenForgotten(this, handle);
  }

  /** `OrtValue *`; asserts that the tensor is not released. */
  get pointer(): bigint {
    return this.#handle.pointer;
  }

  /** For `createSession`; asserts that the tensor is not released. */
  get handle(): Handle {
    assert(this.#handle.pointer, 'a tensor has a pointer');
    return this.#handle;
  }

  /** What must stay referenced while the runtime may touch the tensor's memory. */
  get memoryOwner(): unknown {
    return this.#handle.kept;
  }

  get isOnDevice(): boolean {
    return this.#memory.device !== undefined;
  }

  /** The elements, in place. Asserts that the tensor is in memory that JavaScript can reach. */
  get data(): TensorData[T] {
    assert(this.#handle.pointer, 'a tensor has a pointer');
    assert(this.#memory.buffer, 'data: the tensor is on a device or in a mapped file');
    const { array } = TYPES[this.type];
    const count = elementCount(this.shape);
    return new array(this.#memory.buffer, this.#byteOffset, count) as TensorData[T];
  }

  /**
   * A tensor over a part of the same memory, from the element `elementOffset` on; on a device from its first element
   * only.
   */
  view(shape: readonly number[], elementOffset = 0): OrtTensor<T> {
    assert(this.#handle.pointer, 'a tensor has a pointer');
    assert(
      Number.isSafeInteger(elementOffset) && elementOffset >= 0,
      `view: element offset ${elementOffset}`,
    );
    const total = elementCount(this.shape);
    assert(
      elementOffset + elementCount(shape) <= total,
      `view: [${shape}] at element ${elementOffset} leaves a tensor of ${total}`,
    );
    const byteOffset = this.#byteOffset + bytesOf(this.type, [elementOffset]);
    return tensorOver(this.type, shape, { memory: this.#memory, byteOffset });
  }

  /** Ends the use of the tensor; a second time does nothing. */
  release(): void {
    this.#handle.release();
  }

  /**
   * Releases it, and a device's memory as soon as all tensors over it are released, where the collector would find
   * out late. No binding may have one of them bound.
   */
  releaseMemory(): void {
    this.release();
    this.#memory.device?.handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * A tensor in host memory: zeros, or `data` in place (the caller's writes show). `data` must be an array of the
 * type, of as many elements as the shape; slices of Node's shared Buffer pool are refused.
 */
export function hostTensor<T extends OrtType>(
  type: T,
  shape: readonly number[],
  data?: TensorData[T],
): OrtTensor<T> {
  checkShape(shape);
  const byteLength = bytesOf(type, shape);
  // One byte at least, so that an empty tensor has an address too.
  const array = data ?? new Uint8Array(new ArrayBuffer(Math.max(byteLength, 1)));
  if (data) checkData(type, shape, data);
  // A small typed array lies in the collector's heap; asking for its buffer moves it out for good.
  const { buffer } = array;
  const memory = {
    owner: buffer,
    address: addressOf(buffer),
    byteLength: buffer.byteLength,
    buffer,
  };
  return tensorOver(type, shape, { memory, byteOffset: array.byteOffset });
}

/** A tensor over memory that stays where it is; asserts that it lies inside. */
export function tensorOver<T extends OrtType>(
  type: T,
  shape: readonly number[],
  place: { memory: Memory; byteOffset: number },
): OrtTensor<T> {
  checkShape(shape);
  const { memory, byteOffset } = place;
  const byteLength = bytesOf(type, shape);
  const isInside = byteOffset >= 0 && byteOffset + byteLength <= memory.byteLength;
  assert(isInside, `tensor: ${byteLength} bytes at ${byteOffset} leave ${memory.byteLength} bytes`);
  const { device } = memory;
  assert(!device || byteOffset === 0, 'tensor: a view on a device begins where its memory does');
  const isAligned = byteOffset % TYPES[type].array.BYTES_PER_ELEMENT === 0;
  assert(isAligned, `tensor: ${type} at byte ${byteOffset} is not aligned`);
  const pointer = ortGet(
    'CreateTensorWithDataAsOrtValue',
    device?.info ?? cpuMemoryInfo(),
    ...[memory.address + BigInt(byteOffset), byteLength],
    ...[dimsOf(shape), shape.length, typeCode(type)],
  );
  const handle = new Handle('tensor', pointer, {
    free: (value) => ortVoid('ReleaseValue', value),
    parents: device ? [device.handle] : [],
    kept: memory.owner,
  });
  return new OrtTensor({ type, shape: [...shape] }, handle, place);
}

/** `OrtAllocatorType` and `OrtMemType` of plain memory. */
const ARENA_ALLOCATOR = 1;
const DEFAULT_MEMORY = 0;

let cpuInfo: bigint | undefined;

function cpuMemoryInfo(): bigint {
  cpuInfo ??= ortGet('CreateCpuMemoryInfo', ARENA_ALLOCATOR, DEFAULT_MEMORY);
  return cpuInfo;
}

/** A shape as the C API takes it. */
export function dimsOf(shape: readonly number[]): BigInt64Array {
  return BigInt64Array.from(shape, BigInt);
}

export function checkShape(shape: readonly number[]): void {
  const isValid = shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  assert(isValid && Number.isSafeInteger(elementCount(shape) * 8), `tensor: shape [${shape}]`);
}

function checkData(type: OrtType, shape: readonly number[], data: TensorData[OrtType]): void {
  assert(data instanceof TYPES[type].array, `tensor: ${type} needs a ${TYPES[type].array.name}`);
  const count = elementCount(shape);
  assert(data.length === count, `tensor: ${data.length} elements for the shape [${shape}]`);
  assert(data.buffer instanceof ArrayBuffer, 'tensor: shared memory is refused');
  const isPooled = Buffer.isBuffer(data) && data.byteLength !== data.buffer.byteLength;
  assert(!isPooled, "tensor: a slice of Node's Buffer pool is refused; copy it into a Uint8Array");
}
