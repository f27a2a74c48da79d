// Tensors of ONNX Runtime over memory that JavaScript owns: element types, shapes and bounds.
import { assert } from '../common/assert.ts';
import { elementCount } from '../common/tensor.ts';
import { addressOf } from './ffi.ts';
import { Handle, NativeOwner } from './handle.ts';
import { ortFree, ortGet } from './runtime.ts';

interface TensorData {
  float32: Float32Array<ArrayBuffer>;
  float64: Float64Array<ArrayBuffer>;
  /** The bits of IEEE half precision. */
  float16: Uint16Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  int64: BigInt64Array<ArrayBuffer>;
  uint8: Uint8Array<ArrayBuffer>;
  int8: Int8Array<ArrayBuffer>;
  /** 0 or 1 per element. */
  bool: Uint8Array<ArrayBuffer>;
}

/** The element type of a tensor. */
export type OrtType = keyof TensorData;

/** Each type's number in `ONNXTensorElementDataType`, and its typed array. */
const TYPES = {
  float32: { code: 1, array: Float32Array },
  uint8: { code: 2, array: Uint8Array },
  int8: { code: 3, array: Int8Array },
  int32: { code: 6, array: Int32Array },
  int64: { code: 7, array: BigInt64Array },
  bool: { code: 9, array: Uint8Array },
  float16: { code: 10, array: Uint16Array },
  float64: { code: 11, array: Float64Array },
} as const satisfies Record<OrtType, { code: number; array: unknown }>;

/** Returns a type's number in `ONNXTensorElementDataType`. */
export function typeCode(type: OrtType): number {
  return TYPES[type].code;
}

/** Returns the type with a number in `ONNXTensorElementDataType`; undefined if it is not supported here. */
export function typeOfCode(code: number): OrtType | undefined {
  return (Object.keys(TYPES) as OrtType[]).find((type) => TYPES[type].code === code);
}

/** Returns a tensor's size in bytes. */
export function bytesOf(type: OrtType, shape: readonly number[]): number {
  return elementCount(shape) * TYPES[type].array.BYTES_PER_ELEMENT;
}

/** Memory at a fixed address. It lives as long as anything refers to `owner`. */
export interface Memory {
  readonly owner: object;
  readonly address: bigint;
  readonly byteLength: number;
  /** The memory as a buffer, if JavaScript can read and write it. */
  readonly buffer?: ArrayBuffer;
  readonly device?: DeviceAllocation;
}

/** Memory of this process. */
export type HostMemory = Memory & { readonly buffer: ArrayBuffer };

/** Device memory. Its address may be an opaque handle (a WGPUBuffer), so no offset can be added to it. */
interface DeviceAllocation {
  /** The `OrtMemoryInfo *`, which lives as long as the process. */
  readonly info: bigint;
  /** Used by the owner and by the tensors over the memory. */
  readonly handle: Handle;
}

/**
 * An OrtValue over host or device memory. The memory lives as long as anything refers to it, including views and bindings of a
 * released tensor.
 */
export class OrtTensor<T extends OrtType = OrtType> extends NativeOwner {
  readonly type: T;
  readonly shape: readonly number[];
  readonly #memory: Memory;
  readonly #byteOffset: number;

  /** Use `hostTensor`, `deviceTensor` or `tensorOver`. */
  constructor(
    info: { type: T; shape: readonly number[] },
    handle: Handle,
    range: { memory: Memory; byteOffset: number },
  ) {
    super(handle);
    this.type = info.type;
    this.shape = info.shape;
    this.#memory = range.memory;
    this.#byteOffset = range.byteOffset;
  }

  /** The `OrtValue *`. Asserts that the tensor is not released. */
  get pointer(): bigint {
    return this.handle.pointer;
  }

  /** The object to keep referenced while the runtime may use the tensor's memory. */
  get memoryOwner(): unknown {
    return this.handle.keepsAlive;
  }

  get isOnDevice(): boolean {
    return this.#memory.device !== undefined;
  }

  /** The elements, in place. Asserts that the memory is accessible from JavaScript. */
  get data(): TensorData[T] {
    assert(this.pointer, 'a tensor has a pointer');
    assert(this.#memory.buffer, 'data: the tensor is on a device or in a mapped file');
    const { array } = TYPES[this.type];
    const count = elementCount(this.shape);
    return new array(this.#memory.buffer, this.#byteOffset, count) as TensorData[T];
  }

  /**
   * Returns a tensor over a part of the same memory, starting at element `elementOffset`. On a device, the offset must be 0.
   * Asserts that the part lies inside the tensor.
   */
  view(shape: readonly number[], elementOffset = 0): OrtTensor<T> {
    assert(this.pointer, 'a tensor has a pointer');
    assert(
      Number.isSafeInteger(elementOffset) && elementOffset >= 0,
      `view: element offset ${elementOffset}`,
    );
    const total = elementCount(this.shape);
    assert(
      elementOffset + elementCount(shape) <= total,
      `view: [${shape}] at element ${elementOffset} exceeds a tensor of ${total}`,
    );
    const byteOffset = this.#byteOffset + bytesOf(this.type, [elementOffset]);
    return tensorOver(this.type, shape, { memory: this.#memory, byteOffset });
  }

  /**
   * Releases the tensor, and frees device memory as soon as all tensors over it are released. The garbage collector would do
   * that much later. None of these tensors may be bound.
   */
  releaseMemory(): void {
    this.release();
    this.#memory.device?.handle.release();
  }
}

/**
 * Creates a tensor in host memory: zeros, or `data` in place, with later writes to it visible. Asserts that `data` is an array
 * of the type, with as many elements as the shape, and not a slice of Node's shared Buffer pool.
 */
export function hostTensor<T extends OrtType>(
  type: T,
  shape: readonly number[],
  data?: TensorData[T],
): OrtTensor<T> {
  assertShape(shape);
  const byteLength = bytesOf(type, shape);
  // At least one byte, because an empty tensor also needs an address.
  const array = data ?? new Uint8Array(new ArrayBuffer(Math.max(byteLength, 1)));
  if (data) assertData(type, shape, data);
  // The bytes of a small typed array are in the JavaScript heap. Reading `buffer` moves them out permanently.
  return tensorOver(type, shape, { memory: memoryOf(array.buffer), byteOffset: array.byteOffset });
}

/** Allocates memory of zeros. */
export function hostMemory(byteLength: number): HostMemory {
  return memoryOf(new ArrayBuffer(byteLength));
}

function memoryOf(buffer: ArrayBuffer): HostMemory {
  const { byteLength } = buffer;
  return { owner: buffer, address: addressOf(buffer), byteLength, buffer };
}

/**
 * Creates a tensor over a range of memory that does not move. Asserts that the tensor lies inside the memory and is aligned.
 */
export function tensorOver<T extends OrtType>(
  type: T,
  shape: readonly number[],
  range: { memory: Memory; byteOffset: number },
): OrtTensor<T> {
  assertShape(shape);
  const { memory, byteOffset } = range;
  const byteLength = bytesOf(type, shape);
  const isInside = byteOffset >= 0 && byteOffset + byteLength <= memory.byteLength;
  assert(
    isInside,
    `tensor: ${byteLength} bytes at ${byteOffset} exceed ${memory.byteLength} bytes`,
  );
  const { device } = memory;
  assert(
    !device || byteOffset === 0,
    'tensor: a view on a device starts at the beginning of its memory',
  );
  const isAligned = byteOffset % TYPES[type].array.BYTES_PER_ELEMENT === 0;
  assert(isAligned, `tensor: ${type} at byte ${byteOffset} is not aligned`);
  const pointer = ortGet(
    'CreateTensorWithDataAsOrtValue',
    device?.info ?? cpuMemoryInfo(),
    ...[memory.address + BigInt(byteOffset), byteLength],
    ...[dimsOf(shape), shape.length, typeCode(type)],
  );
  const handle = new Handle('tensor', pointer, {
    free: ortFree('ReleaseValue'),
    parents: device ? [device.handle] : [],
    keepsAlive: memory.owner,
  });
  return new OrtTensor({ type, shape: [...shape] }, handle, range);
}

/** `OrtArenaAllocator` and `OrtMemTypeDefault`. */
const CPU_ARENA = [1, 0] as const;

let cpuInfo: bigint | undefined;

/** Returns the `OrtMemoryInfo *` of plain memory, which lives as long as the process. */
export function cpuMemoryInfo(): bigint {
  cpuInfo ??= ortGet('CreateCpuMemoryInfo', ...CPU_ARENA);
  return cpuInfo;
}

/** Returns a shape as the C API expects it. */
export function dimsOf(shape: readonly number[]): BigInt64Array {
  return BigInt64Array.from(shape, BigInt);
}

/** Asserts that a shape has valid dimensions and a byte count that a number can represent. */
export function assertShape(shape: readonly number[]): void {
  const isValid = shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  assert(isValid && Number.isSafeInteger(elementCount(shape) * 8), `tensor: shape [${shape}]`);
}

function assertData(type: OrtType, shape: readonly number[], data: TensorData[OrtType]): void {
  assert(data instanceof TYPES[type].array, `tensor: ${type} needs a ${TYPES[type].array.name}`);
  const count = elementCount(shape);
  assert(data.length === count, `tensor: ${data.length} elements for the shape [${shape}]`);
  assert(data.buffer instanceof ArrayBuffer, 'tensor: shared memory is refused');
  const isPooled = Buffer.isBuffer(data) && data.byteLength !== data.buffer.byteLength;
  assert(!isPooled, "tensor: a slice of Node's Buffer pool is refused; copy it into a Uint8Array");
}
