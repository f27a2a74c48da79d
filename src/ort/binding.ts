// A session's inputs and outputs bound to tensors once, and run many times. Knows the checks that keep a wrong
// tensor away from native code; knows nothing of what the graph computes.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { hasDeviceMemory } from './providers.ts';
import { RunOptions } from './run-options.ts';
import { ortCall, ortCallAsync, ortGet, ortVoid } from './runtime.ts';
import type { OrtTensor } from './tensor.ts';
import { checkAgainst, type ValueInfo } from './value-info.ts';

/** What a binding needs of its session. */
interface BoundSession {
  readonly handle: Handle;
  readonly provider: Provider;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

/** Options of the runs that give none: they are never terminated. */
let plainOptions: RunOptions | undefined;

/**
 * Tensors for one run at a time. It keeps the bound memory alive, also where a tensor is released after it was
 * bound. On a device provider, `bindInput` copies a host tensor to the device: bind it again when it changes.
 */
export class Binding {
  readonly #session: Handle;
  readonly #handle: Handle;
  readonly #inputs: ReadonlyMap<string, ValueInfo>;
  readonly #outputs: ReadonlyMap<string, ValueInfo>;
  readonly #isOnDevice: boolean;
  readonly #boundInputs = new Map<string, unknown>();
  readonly #boundOutputs = new Map<string, unknown>();
  #isRunning = false;

  /** For `Session.createBinding`. */
  constructor({ handle: session, provider, inputs, outputs }: BoundSession) {
    this.#session = session;
    this.#isOnDevice = hasDeviceMemory(provider);
    this.#inputs = new Map(inputs.map((info) => [info.name, info]));
    this.#outputs = new Map(outputs.map((info) => [info.name, info]));
    this.#handle = new Handle('binding', ortGet('CreateIoBinding', session.pointer), {
      free: (pointer) => ortVoid('ReleaseIoBinding', pointer),
      parents: [session],
      kept: [this.#boundInputs, this.#boundOutputs],
    });
    releaseWhenForgotten(this, this.#handle);
  }

  /** Asserts that the session has the input, and that type, rank and fixed dimensions fit. */
  bindInput(name: string, tensor: OrtTensor): void {
    const info = this.#inputs.get(name);
    assert(info, `the session has no input ${name}`);
    this.#bind('BindInput', info, tensor);
    this.#boundInputs.set(name, tensor.memoryOwner);
  }

  /** The same for an output. A tensor may be bound as input and output at the same time. */
  bindOutput(name: string, tensor: OrtTensor): void {
    const info = this.#outputs.get(name);
    assert(info, `the session has no output ${name}`);
    this.#bind('BindOutput', info, tensor);
    this.#boundOutputs.set(name, tensor.memoryOwner);
  }

  /** Whether runs read a bound tensor where it is, not as it was when it was bound. */
  readsInPlace(tensor: OrtTensor): boolean {
    return tensor.isOnDevice || !this.#isOnDevice;
  }

  #bind(call: 'BindInput' | 'BindOutput', info: ValueInfo, tensor: OrtTensor): void {
    const pointer = this.#idlePointer();
    checkAgainst(info, tensor);
    ortCall(call, pointer, info.name, tensor.pointer);
  }

  /**
   * Runs on a thread of the pool; the event loop stays free. Rejects with `OrtError`. On a device's provider it
   * runs on this thread: copies to the device and frees of its memory, which begin on this thread, are not to meet
   * a run, and what all sessions of the device share has no lock (WebGPU).
   */
  async run(options?: RunOptions): Promise<void> {
    if (this.#isOnDevice) return this.runSync(options);
    const run = this.#start(options);
    try {
      await ortCallAsync('RunWithBinding', ...run.pointers);
    } finally {
      this.#finish(run.options);
    }
  }

  /** Runs on this thread, which is cheaper where the graph is small. Throws `OrtError`. */
  runSync(options?: RunOptions): void {
    const run = this.#start(options);
    try {
      ortCall('RunWithBinding', ...run.pointers);
    } finally {
      this.#finish(run.options);
    }
  }

  #start(given: RunOptions | undefined): { options: RunOptions; pointers: bigint[] } {
    const pointer = this.#idlePointer();
    for (const [bound, infos] of [
      [this.#boundInputs, this.#inputs],
      [this.#boundOutputs, this.#outputs],
    ] as const) {
      for (const name of infos.keys()) assert(bound.has(name), `${name} is not bound`);
    }
    plainOptions ??= new RunOptions();
    const options = given ?? plainOptions;
    const pointers = [this.#session.pointer, options.start(), pointer];
    this.#isRunning = true;
    return { options, pointers };
  }

  #finish(options: RunOptions): void {
    this.#isRunning = false;
    options.finish();
  }

  /** Lets go of all bound tensors. */
  clear(): void {
    const pointer = this.#idlePointer();
    ortVoid('ClearBoundInputs', pointer);
    ortVoid('ClearBoundOutputs', pointer);
    this.#boundInputs.clear();
    this.#boundOutputs.clear();
  }

  /** Asserts that no run is in flight; a second time does nothing. */
  release(): void {
    assert(!this.#isRunning, 'binding: released while a run is in flight');
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** `OrtIoBinding *`; asserts that the binding is not released, nor running. */
  #idlePointer(): bigint {
    const { pointer } = this.#handle;
    assert(!this.#isRunning, 'binding: a run is in flight');
    return pointer;
  }
}
