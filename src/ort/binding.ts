// A session's inputs and outputs: their names, types and shapes, the tensors that are bound to them, and the run. Checks every
// tensor before native code sees it.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { stringAt } from './ffi.ts';
import { Handle, NativeOwner } from './handle.ts';
import { hasDeviceMemory } from './providers.ts';
import { ortCall, ortCallAsync, ortFree, ortGet, ortVoid } from './runtime.ts';
import { type OrtTensor, type OrtType, typeOfCode } from './tensor.ts';

/** The part of a session that a binding uses. */
interface BoundSession {
  readonly handle: Handle;
  readonly provider: Provider;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

/** The inputs or outputs of a session, and the owners of the tensors' memory that are bound to them, by name. */
interface BoundSide {
  readonly infos: ReadonlyMap<string, ValueInfo>;
  readonly owners: Map<string, unknown>;
}

function toSide(infos: readonly ValueInfo[]): BoundSide {
  return { infos: new Map(infos.map((info) => [info.name, info])), owners: new Map() };
}

let defaultOptions: RunOptions | undefined;

/** The options for runs without options. Nobody terminates them before the process exits. */
function sharedOptions(): RunOptions {
  defaultOptions ??= new RunOptions();
  return defaultOptions;
}

/**
 * The tensors of one run at a time. Keeps their memory alive, even if a tensor is released after it was bound. On a device,
 * `bindInput` copies a host tensor to the device, so bind it again after each change.
 */
export class Binding extends NativeOwner {
  readonly #session: Handle;
  readonly #isOnDevice: boolean;
  readonly #sides: Record<'Input' | 'Output', BoundSide>;
  #isRunning = false;

  /** Use `Session.createBinding`. */
  constructor({ handle: session, provider, inputs, outputs }: BoundSession) {
    const sides = { Input: toSide(inputs), Output: toSide(outputs) };
    const pointer = ortGet('CreateIoBinding', session.pointer);
    const keepsAlive = [sides.Input.owners, sides.Output.owners];
    const free = ortFree('ReleaseIoBinding');
    super(new Handle('binding', pointer, { free, parents: [session], keepsAlive }));
    this.#session = session;
    this.#isOnDevice = hasDeviceMemory(provider);
    this.#sides = sides;
  }

  /** Binds an input. Asserts that it exists, and that type, rank and fixed dimensions match. */
  bindInput(name: string, tensor: OrtTensor): void {
    this.#bind('Input', name, tensor);
  }

  /** Binds an output, with the same checks. A tensor can be bound as both input and output. */
  bindOutput(name: string, tensor: OrtTensor): void {
    this.#bind('Output', name, tensor);
  }

  /** Whether runs read the tensor in place, rather than a copy made when it was bound. */
  readsInPlace(tensor: OrtTensor): boolean {
    return tensor.isOnDevice || !this.#isOnDevice;
  }

  #bind(side: 'Input' | 'Output', name: string, tensor: OrtTensor): void {
    const { infos, owners } = this.#sides[side];
    const info = infos.get(name);
    assert(info, `the session has no ${side.toLowerCase()} ${name}`);
    const pointer = this.#idlePointer();
    checkAgainst(info, tensor);
    ortCall(`Bind${side}`, pointer, name, tensor.pointer);
    owners.set(name, tensor.memoryOwner);
  }

  /**
   * Runs on a thread of the pool, off the event loop. Rejects with `OrtError`. For a device it runs on this thread: this thread
   * also copies to the device and frees its memory, and the state that the sessions share has no lock (WebGPU).
   */
  async run(options?: RunOptions): Promise<void> {
    if (this.#isOnDevice) return this.runSync(options);
    using run = this.#start(options);
    await ortCallAsync('RunWithBinding', ...run.pointers);
  }

  /** Runs on this thread, which is cheaper for a small graph. Throws `OrtError`. */
  runSync(options?: RunOptions): void {
    using run = this.#start(options);
    ortCall('RunWithBinding', ...run.pointers);
  }

  /** Begins a run, which ends when the result is disposed of. */
  #start(options = sharedOptions()): Disposable & { pointers: bigint[] } {
    const pointer = this.#idlePointer();
    for (const { infos, owners } of Object.values(this.#sides)) {
      for (const name of infos.keys()) assert(owners.has(name), `${name} is not bound`);
    }
    const pointers = [this.#session.pointer, options.start(), pointer];
    this.#isRunning = true;
    return {
      pointers,
      [Symbol.dispose]: () => {
        this.#isRunning = false;
        options.finish();
      },
    };
  }

  /** Unbinds all tensors. */
  clear(): void {
    const pointer = this.#idlePointer();
    ortVoid('ClearBoundInputs', pointer);
    ortVoid('ClearBoundOutputs', pointer);
    for (const { owners } of Object.values(this.#sides)) owners.clear();
  }

  /** Releases the binding. Asserts that no run is in flight. A second call does nothing. */
  override release(): void {
    assert(!this.#isRunning, 'binding: released while a run is in flight');
    super.release();
  }

  /** The `OrtIoBinding *`. Asserts that the binding is neither released nor running. */
  #idlePointer(): bigint {
    const { pointer } = this.handle;
    assert(!this.#isRunning, 'binding: a run is in flight');
    return pointer;
  }
}

/** The switch that terminates runs. One object can serve any number of runs, even concurrent ones. */
export class RunOptions extends NativeOwner {
  #runsInFlight = 0;

  constructor() {
    const free = ortFree('ReleaseRunOptions');
    super(new Handle('run options', ortGet('CreateRunOptions'), { free }));
  }

  /** Makes all runs with these options reject with an `OrtError`, until `reset`. */
  terminate(): void {
    ortCall('RunOptionsSetTerminate', this.handle.pointer);
  }

  reset(): void {
    ortCall('RunOptionsUnsetTerminate', this.handle.pointer);
  }

  /** Releases the options. Asserts that no run uses them. A second call does nothing. */
  override release(): void {
    assert(this.#runsInFlight === 0, 'run options: released while a run is in flight');
    super.release();
  }

  /** Called by a binding before a run. Returns the native pointer, which is valid until `finish`. */
  start(): bigint {
    const { pointer } = this.handle;
    this.#runsInFlight++;
    inUse.add(this);
    return pointer;
  }

  /** Called by a binding after a run. */
  finish(): void {
    if (--this.#runsInFlight === 0) inUse.delete(this);
  }
}

const inUse = new Set<RunOptions>();

// At exit, Node waits for the threads of the pool, and therefore for every run in flight. Terminating the runs ends the wait.
process.once('exit', () => {
  for (const options of inUse) options.terminate();
});

/** An input or output of a session. */
export interface ValueInfo {
  readonly name: string;
  readonly type: OrtType;
  /** A fixed dimension is a number. Any other is its name, or -1 without a name. */
  readonly shape: readonly (number | string)[];
}

/** Reads the inputs or outputs of a session, in order. `session` is an `OrtSession *`. */
export function readValueInfos(session: bigint, side: 'Input' | 'Output'): ValueInfo[] {
  const count = Number(ortGet(`SessionGet${side}Count`, session));
  return Array.from({ length: count }, (_, index) => {
    const name = readValueName(session, side, index);
    const info = ortGet(`SessionGet${side}TypeInfo`, session, index);
    try {
      const tensorInfo = ortGet('CastTypeInfoToTensorInfo', info); // owned by `info`
      assert(tensorInfo, `${side} ${name} is not a tensor`);
      const code = Number(ortGet('GetTensorElementType', tensorInfo));
      const type = typeOfCode(code);
      assert(type, `${side} ${name} has the unknown element type ${code}`);
      return { name, type, shape: readShape(tensorInfo) };
    } finally {
      ortVoid('ReleaseTypeInfo', info);
    }
  });
}

function readValueName(session: bigint, side: 'Input' | 'Output', index: number): string {
  const allocator = ortGet('GetAllocatorWithDefaultOptions');
  const pointer = ortGet(`SessionGet${side}Name`, session, index, allocator);
  const name = stringAt(pointer);
  ortCall('AllocatorFree', allocator, pointer);
  return name;
}

function readShape(tensorInfo: bigint): (number | string)[] {
  const rank = Number(ortGet('GetDimensionsCount', tensorInfo));
  const dims = new BigInt64Array(rank);
  const names = new BigUint64Array(rank); // addresses of strings, owned by `tensorInfo`
  if (rank > 0) {
    ortCall('GetDimensions', tensorInfo, dims, rank);
    ortCall('GetSymbolicDimensions', tensorInfo, names, rank);
  }
  return Array.from(dims, (dim, axis) => (dim >= 0n ? Number(dim) : stringAt(names[axis]!) || -1));
}

/** Asserts that a tensor has the type, the rank and the fixed dimensions of a value. */
function checkAgainst(info: ValueInfo, tensor: OrtTensor): void {
  const { name, type, shape } = info;
  assert(tensor.type === type, `${name}: is ${type}, not ${tensor.type}`);
  const fits =
    tensor.shape.length === shape.length &&
    shape.every((dim, axis) => typeof dim === 'string' || dim < 0 || dim === tensor.shape[axis]);
  assert(fits, `${name}: has the shape [${shape}], not [${tensor.shape}]`);
}
