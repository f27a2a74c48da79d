// Sessions: a graph made ready to run, with weights that several sessions may share. Knows providers and
// options; runs happen through bindings.
import { assert } from '../common/assert.ts';
import type { Provider } from '../settings/provider.ts';
import { Binding } from './binding.ts';
import type { CValue } from './ffi.ts';
import { Handle, releaseWhenForgotten } from './handle.ts';
import { hasDeviceMemory, NATIVE_PROVIDERS } from './providers.ts';
import { ortCall, ortCallAsync, ortEnv, ortGet, ortVoid } from './runtime.ts';
import type { OrtTensor } from './tensor.ts';
import { readValueInfos, type ValueInfo } from './value-info.ts';

/** `GraphOptimizationLevel` */
const OPTIMIZATION_LEVELS = { none: 0, basic: 1, all: 99 } as const;
/** `kOrtSessionOptionsModelExternalInitializersFileFolderPath` */
const EXTERNAL_FOLDER = 'session.model_external_initializers_file_folder_path';
/** `OrtLoggingLevel` */
const LOG_FATAL = 4;

export interface SessionOptions {
  /** Default `cpu`. */
  provider?: Provider;
  /** Threads inside one operator; default: one per core. */
  intraOpThreads?: number;
  /** Whether idle threads wait busily: fast on an idle machine, 4-5x slower beside another busy process. */
  allowSpinning?: boolean;
  /** Default `all`. */
  optimization?: keyof typeof OPTIMIZATION_LEVELS;
  /**
   * Values for the graph's initializers: several sessions may use the same tensors. The graph declares each with its
   * type and shape, its bytes as external data. Without `externalFolder` the file that it names is never opened, and
   * each session has a copy of the values beside those that its kernels use in place.
   */
  initializers?: ReadonlyMap<string, OrtTensor>;
  /** Folder of the files that hold the graph's external data: they are mapped, and copied by nobody. */
  externalFolder?: string;
  /** Where weights in a kernel's own layout are kept, so that sessions with the same initializers share them. */
  prepacked?: PrepackedWeights;
  /**
   * Whether runs take their memory from one arena of the process, for sessions that run one after another: it grows to
   * what the largest takes, not to what all take together. Default: an arena for each session.
   */
  sharesArena?: boolean;
  /** Leaves faults to the caller, who expects some, and prints none. */
  isQuiet?: boolean;
  /** Entries of onnxruntime_session_options_config_keys.h. */
  config?: Readonly<Record<string, string>>;
}

/** Container of weights in a kernel's own layout. Lives at least as long as the sessions made with it. */
export class PrepackedWeights {
  readonly #handle: Handle;

  constructor() {
    this.#handle = new Handle('prepacked weights', ortGet('CreatePrepackedWeightsContainer'), {
      free: (pointer) => ortVoid('ReleasePrepackedWeightsContainer', pointer),
    });
    releaseWhenForgotten(this, this.#handle);
  }

  /** For `createSession`; asserts that it is not released. */
  get handle(): Handle {
    assert(this.#handle.pointer, 'prepacked weights have a pointer');
    return this.#handle;
  }

  /** Ends its use for new sessions; a second time does nothing. */
  release(): void {
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** A loaded graph. Its native memory lives until it and every binding made from it are released. */
export class Session {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly provider: Provider;
  readonly #handle: Handle;

  /** For `createSession`. */
  constructor(handle: Handle, provider: Provider) {
    this.#handle = handle;
    this.provider = provider;
    releaseWhenForgotten(this, handle);
    this.inputs = readValueInfos(handle.pointer, 'Input');
    this.outputs = readValueInfos(handle.pointer, 'Output');
  }

  /** For the makers of bindings and device tensors; asserts that the session is not released. */
  get handle(): Handle {
    assert(this.#handle.pointer, 'a session has a pointer');
    return this.#handle;
  }

  createBinding(): Binding {
    return new Binding(this);
  }

  /**
   * Ends its use: a later run is an assertion; a run in flight ends as usual. A second time does nothing.
   */
  release(): void {
    this.#handle.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * Loads a model: serialized bytes, or a file's path (external data lies beside the file). Runs off the event loop,
 * but on a device's provider: what a device does is begun by one thread.
 * Throws `OrtError` where ONNX Runtime refuses the model, or the provider cannot be had.
 */
export async function createSession(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Promise<Session> {
  if (hasDeviceMemory(options.provider ?? 'cpu')) return createSessionSync(model, options);
  const creation = beginSession(model, options);
  try {
    await ortCallAsync(...creation.call);
    return creation.session();
  } finally {
    creation.end();
  }
}

/** The same, on this thread. Throws `OrtError`. */
export function createSessionSync(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Session {
  const creation = beginSession(model, options);
  try {
    ortCall(...creation.call);
    return creation.session();
  } finally {
    creation.end();
  }
}

interface SessionCreation {
  readonly call: [ReturnType<typeof creator>, ...CValue[]];
  /** After the call. */
  session(): Session;
  end(): void;
}

function beginSession(model: Uint8Array | string, options: SessionOptions): SessionCreation {
  const { prepacked, initializers } = options;
  const shared = prepacked ? [prepacked.handle] : [];
  // ONNX Runtime keeps the pointers of the initializers' OrtValues, not only of their memory.
  const weights = Array.from(initializers?.values() ?? [], (tensor) => tensor.handle);
  const parents = [...shared, ...weights];
  const settings = new Handle('session options', ortGet('CreateSessionOptions'), {
    free: (pointer) => ortVoid('ReleaseSessionOptions', pointer),
    parents,
    kept: model,
  });
  const cell = new BigUint64Array(new ArrayBuffer(8));
  const end = () => settings.release();
  try {
    applyOptions(settings.pointer, options);
    const source: CValue[] = typeof model === 'string' ? [model] : [model, model.byteLength];
    const containers = shared.map((handle) => handle.pointer);
    return {
      call: [
        creator(model, prepacked),
        ...[ortEnv(), ...source, settings.pointer, ...containers, cell],
      ],
      session() {
        const free = (pointer: bigint) => ortVoid('ReleaseSession', pointer);
        const handle = new Handle('session', cell[0]!, { free, parents });
        return new Session(handle, options.provider ?? 'cpu');
      },
      end,
    };
  } catch (error) {
    end();
    throw error;
  }
}

function creator(model: Uint8Array | string, prepacked: PrepackedWeights | undefined) {
  const from = typeof model === 'string' ? '' : 'FromArray';
  return `CreateSession${from}${prepacked ? 'WithPrepackedWeightsContainer' : ''}` as const;
}

function applyOptions(pointer: bigint, options: SessionOptions): void {
  const { provider = 'cpu', optimization = 'all', intraOpThreads, allowSpinning } = options;
  if (options.sharesArena) shareArena(pointer);
  ortCall('SetSessionGraphOptimizationLevel', pointer, OPTIMIZATION_LEVELS[optimization]);
  if (intraOpThreads !== undefined) ortCall('SetIntraOpNumThreads', pointer, intraOpThreads);
  const spinning =
    allowSpinning === undefined
      ? {}
      : { 'session.intra_op.allow_spinning': allowSpinning ? '1' : '0' };
  const { externalFolder } = options;
  const external = externalFolder === undefined ? {} : { [EXTERNAL_FOLDER]: externalFolder };
  for (const [key, value] of Object.entries({ ...spinning, ...external, ...options.config })) {
    ortCall('AddSessionConfigEntry', pointer, key, value);
  }
  if (options.initializers?.size) {
    if (externalFolder === undefined) giveValues(pointer, options.initializers);
    shareValues(pointer, options.initializers);
  }
  if (options.isQuiet) ortCall('SetSessionLogSeverityLevel', pointer, LOG_FATAL);
  NATIVE_PROVIDERS[provider].append(pointer);
}

let hasSharedArena = false;

/** `OrtArenaAllocator`, `OrtMemTypeDefault` */
const CPU_ARENA = [1, 0] as const;

function shareArena(pointer: bigint): void {
  if (!hasSharedArena) {
    const info = ortGet('CreateCpuMemoryInfo', ...CPU_ARENA);
    ortCall('CreateAndRegisterAllocator', ortEnv(), info, null);
    ortVoid('ReleaseMemoryInfo', info);
    hasSharedArena = true;
  }
  ortCall('AddSessionConfigEntry', pointer, 'session.use_env_allocators', '1');
  // A pattern is one block for all of a run: each graph's would be another one.
  ortCall('DisableMemPattern', pointer);
}

/** Gives the graph its values, a copy of them: without it an absent file is an error. */
function giveValues(pointer: bigint, initializers: ReadonlyMap<string, OrtTensor>): void {
  const values = BigUint64Array.from(initializers.values(), (tensor) => tensor.pointer);
  const names = [...initializers.keys()];
  ortCall('AddExternalInitializers', pointer, names, values, names.length);
}

/** Makes the kernels use the values in place, and share what they prepack. */
function shareValues(pointer: bigint, initializers: ReadonlyMap<string, OrtTensor>): void {
  for (const [name, tensor] of initializers) {
    ortCall('AddInitializer', pointer, name, tensor.pointer);
  }
}
