// Binds tensors to the inputs and outputs of a session, and runs it. Checks every tensor before native code sees it.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { Handle, releaseWhenCollected } from './handle.ts';
import { hasDeviceMemory } from './providers.ts';
import { ortCall, ortCallAsync, ortGet, ortVoid } from './runtime.ts';
import type { OrtTensor } from './tensor.ts';
import { checkAgainst, type ValueInfo } from './value-info.ts';

/** The part of a session that a binding uses. */
interface BoundSession {
  readonly handle: Handle;
  readonly provider: Provider;
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

/** The options for runs without options. Nobody terminates them before the process exits. */
let defaultOptions: RunOptions | undefined;

/**
 * The tensors of one run at a time. Keeps their memory alive, even if a tensor is released after it was bound. On a device,
 * `bindInput` copies a host tensor to the device, so bind it again after each change.
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

  /** Use `Session.createBinding`. */
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
    releaseWhenCollected(this, this.#handle);
  }

  /** Binds an input. Asserts that it exists, and that type, rank and fixed dimensions match. */
  bindInput(name: string, tensor: OrtTensor): void {
    const info = this.#inputs.get(name);
    assert(info, `the session has no input ${name}`);
    this.#bind('BindInput', info, tensor);
    this.#boundInputs.set(name, tensor.memoryOwner);
  }

  /** Binds an output, with the same checks. A tensor can be bound as both input and output. */
  bindOutput(name: string, tensor: OrtTensor): void {
    const info = this.#outputs.get(name);
    assert(info, `the session has no output ${name}`);
    this.#bind('BindOutput', info, tensor);
    this.#boundOutputs.set(name, tensor.memoryOwner);
  }

  /** Whether runs read the tensor in place, rather than a copy made when it was bound. */
  readsInPlace(tensor: OrtTensor): boolean {
    return tensor.isOnDevice || !this.#isOnDevice;
  }

  #bind(call: 'BindInput' | 'BindOutput', info: ValueInfo, tensor: OrtTensor): void {
    const pointer = this.#idlePointer();
    checkAgainst(info, tensor);
    ortCall(call, pointer, info.name, tensor.pointer);
  }

  /**
   * Runs on a thread of the pool, off the event loop. Rejects with `OrtError`. For a device it runs on this thread: this thread
   * also copies to the device and frees its memory, and the state that the sessions share has no lock (WebGPU).
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

  /** Runs on this thread, which is cheaper for a small graph. Throws `OrtError`. */
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
    defaultOptions ??= new RunOptions();
    const options = given ?? defaultOptions;
    const pointers = [this.#session.pointer, options.start(), pointer];
    this.#isRunning = true;
    return { options, pointers };
  }

  #finish(options: RunOptions): void {
    this.#isRunning = false;
    options.finish();
  }

  /** Unbinds all tensors. */
  clear(): void {
    const pointer = this.#idlePointer();
    ortVoid('ClearBoundInputs', pointer);
    ortVoid('ClearBoundOutputs', pointer);
    this.#boundInputs.clear();
    this.#boundOutputs.clear();
  }

  /** Releases the binding. Asserts that no run is in flight. A second call does nothing. */
  release(): void {
    assert(!this.#isRunning, 'binding: released while a run is in flight');
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** The `OrtIoBinding *`. Asserts that the binding is neither released nor running. */
  #idlePointer(): bigint {
    const { pointer } = this.#handle;
    assert(!this.#isRunning, 'binding: a run is in flight');
    return pointer;
  }
}

/** The switch that terminates runs. One object can serve any number of runs, even concurrent ones. */
export class RunOptions {
  readonly #handle: Handle;
  #runsInFlight = 0;

  constructor() {
    this.#handle = new Handle('run options', ortGet('CreateRunOptions'), {
      free: (pointer) => ortVoid('ReleaseRunOptions', pointer),
    });
    releaseWhenCollected(this, this.#handle);
  }

  /** Makes all runs with these options reject with an `OrtError`, until `reset`. */
  terminate(): void {
    ortCall('RunOptionsSetTerminate', this.#handle.pointer);
  }

  reset(): void {
    ortCall('RunOptionsUnsetTerminate', this.#handle.pointer);
  }

  /** Releases the options. Asserts that no run uses them. A second call does nothing. */
  release(): void {
    assert(this.#runsInFlight === 0, 'run options: released while a run is in flight');
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  /** Called by a binding before a run. Returns the native pointer, which is valid until `finish`. */
  start(): bigint {
    const { pointer } = this.#handle;
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
