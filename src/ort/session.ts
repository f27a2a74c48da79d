// Creates sessions: graphs that are ready to run, with weights that several sessions can share. Bindings run them.
import type { Provider } from '../settings/provider.ts';
import { Binding, readValueInfos, type ValueInfo } from './binding.ts';
import type { CValue } from './ffi.ts';
import { Handle, NativeOwner } from './handle.ts';
import { OPERATORS_FILE } from './own-operators.ts';
import { hasDeviceMemory, NATIVE_PROVIDERS } from './providers.ts';
import { ortCall, ortCallAsync, ortEnvironment, ortFree, ortGet } from './runtime.ts';
import { cpuMemoryInfo, type OrtTensor } from './tensor.ts';

/** `GraphOptimizationLevel` */
const ENABLE_ALL = 99;
/** `kOrtSessionOptionsModelExternalInitializersFileFolderPath` */
const EXTERNAL_FOLDER = 'session.model_external_initializers_file_folder_path';
/** `kOrtSessionOptionsConfigAllowIntraOpSpinning` */
const ALLOW_SPINNING = 'session.intra_op.allow_spinning';
/** `OrtLoggingLevel` */
const LOG_FATAL = 4;

/** How a session is created and run. */
export interface SessionOptions {
  /** Default `cpu`. */
  provider?: Provider;
  /** Threads inside one operator. Default: one per core. */
  intraOpThreads?: number;
  /**
   * Whether the session runs on the process's threads. Use it for sessions that alternate: otherwise one session's idle threads
   * would keep spinning while another session runs. Only sessions with the same `intraOpThreads` as the first session of the
   * process can share; others get separate threads.
   */
  sharesThreads?: boolean;
  /** Whether idle threads spin. This is fast on an idle machine, but 4-5 times slower next to another busy process. */
  allowSpinning?: boolean;
  /**
   * Values of the graph's initializers. Several sessions can use the same tensors. The graph declares each with its type and
   * shape as external data. Without `externalFolder` its file is never opened, and the session copies the values in addition to
   * using some in place in its kernels.
   */
  initializers?: ReadonlyMap<string, OrtTensor>;
  /** The folder with the files of the graph's external data. They are memory-mapped, without copies. */
  externalFolder?: string;
  /** Weights in a kernel's layout, for all sessions with the same initializers. */
  prepacked?: PrepackedWeights;
  /**
   * Whether runs take their memory from the process's arena. Use it for sessions that run one after another: the arena then
   * grows to the need of the largest, not of all together. Default: a separate arena per session.
   */
  sharesArena?: boolean;
  /** Whether the graph has operators of `LORIKEET`. Only where `ownInstructions` names an instruction set. */
  usesOwnOperators?: boolean;
  /** Prints no errors, for a caller that expects some. */
  isQuiet?: boolean;
  /** Entries of onnxruntime_session_options_config_keys.h. */
  config?: Readonly<Record<string, string>>;
}

/** Weights in a kernel's layout. They live at least as long as the sessions created with them. */
export class PrepackedWeights extends NativeOwner {
  constructor() {
    const free = ortFree('ReleasePrepackedWeightsContainer');
    const pointer = ortGet('CreatePrepackedWeightsContainer');
    super(new Handle('prepacked weights', pointer, { free }));
  }
}

/** A loaded graph. Its native memory lives until it and all its bindings are released. A run in flight completes as usual. */
export class Session extends NativeOwner {
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly provider: Provider;

  /** Use `createSession`. */
  constructor(handle: Handle, provider: Provider) {
    super(handle);
    this.provider = provider;
    this.inputs = readValueInfos(handle.pointer, 'Input');
    this.outputs = readValueInfos(handle.pointer, 'Output');
  }

  createBinding(): Binding {
    return new Binding(this);
  }
}

/**
 * Loads a model from serialized bytes, or from a file with its external data in the same folder. Runs off the event loop,
 * except for a device, which only one thread may use. Rejects with `OrtError` if the model is invalid or the provider is not
 * available.
 */
export async function createSession(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Promise<Session> {
  if (hasDeviceMemory(options.provider ?? 'cpu')) return createSessionSync(model, options);
  using creation = beginSession(model, options);
  await ortCallAsync(...creation.call);
  return creation.session();
}

/** Loads a model on this thread. Throws `OrtError`. */
export function createSessionSync(
  model: Uint8Array | string,
  options: SessionOptions = {},
): Session {
  using creation = beginSession(model, options);
  ortCall(...creation.call);
  return creation.session();
}

interface SessionCreation extends Disposable {
  readonly call: [ReturnType<typeof creator>, ...CValue[]];
  /** Returns the session. Call it after the native call. */
  session(): Session;
}

function beginSession(model: Uint8Array | string, options: SessionOptions): SessionCreation {
  const { prepacked, initializers } = options;
  const containers = prepacked ? [prepacked.handle] : [];
  // ONNX Runtime keeps pointers to the initializers' OrtValues, not only to their memory.
  const weights = Array.from(initializers?.values() ?? [], (tensor) => tensor.handle);
  const parents = [...containers, ...weights];
  const settings = new Handle('session options', ortGet('CreateSessionOptions'), {
    free: ortFree('ReleaseSessionOptions'),
    parents,
    keepsAlive: model,
  });
  const cell = new BigUint64Array(new ArrayBuffer(8));
  try {
    applyOptions(settings.pointer, options);
    const source: CValue[] = typeof model === 'string' ? [model] : [model, model.byteLength];
    const pointers = containers.map(({ pointer }) => pointer);
    return {
      call: [
        creator(model, prepacked),
        ...[ortEnvironment().pointer, ...source, settings.pointer, ...pointers, cell],
      ],
      session() {
        const handle = new Handle('session', cell[0]!, {
          free: ortFree('ReleaseSession'),
          parents,
        });
        return new Session(handle, options.provider ?? 'cpu');
      },
      [Symbol.dispose]: () => settings.release(),
    };
  } catch (error) {
    settings.release();
    throw error;
  }
}

function creator(model: Uint8Array | string, prepacked: PrepackedWeights | undefined) {
  const from = typeof model === 'string' ? '' : 'FromArray';
  return `CreateSession${from}${prepacked ? 'WithPrepackedWeightsContainer' : ''}` as const;
}

function applyOptions(pointer: bigint, options: SessionOptions): void {
  const { provider = 'cpu', intraOpThreads, allowSpinning } = options;
  if (options.sharesArena) shareArena(pointer);
  if (options.usesOwnOperators) ortCall('RegisterCustomOpsLibrary_V2', pointer, OPERATORS_FILE);
  ortCall('SetSessionGraphOptimizationLevel', pointer, ENABLE_ALL);
  const threads = intraOpThreads ?? 0; // 0: one per core, which is also the default
  if (options.sharesThreads && ortEnvironment(threads).threads === threads) {
    ortCall('DisablePerSessionThreads', pointer);
  } else ortCall('SetIntraOpNumThreads', pointer, threads);
  const { externalFolder } = options;
  const entries = {
    [ALLOW_SPINNING]: allowSpinning === undefined ? undefined : String(Number(allowSpinning)),
    [EXTERNAL_FOLDER]: externalFolder,
    ...options.config,
  };
  for (const [key, value] of Object.entries(entries)) {
    if (value !== undefined) ortCall('AddSessionConfigEntry', pointer, key, value);
  }
  const { initializers } = options;
  if (initializers?.size && externalFolder === undefined) {
    // Copies the values into the graph. Otherwise a missing file is an error.
    const values = BigUint64Array.from(initializers.values(), (tensor) => tensor.pointer);
    ortCall('AddExternalInitializers', pointer, [...initializers.keys()], values, values.length);
  }
  // Makes the kernels use the values in place and share prepacked weights.
  for (const [name, tensor] of initializers ?? []) {
    ortCall('AddInitializer', pointer, name, tensor.pointer);
  }
  if (options.isQuiet) ortCall('SetSessionLogSeverityLevel', pointer, LOG_FATAL);
  ortEnvironment(); // a provider writes to the environment's log while it is added
  NATIVE_PROVIDERS[provider].append(pointer);
}

let hasSharedArena = false;

function shareArena(pointer: bigint): void {
  if (!hasSharedArena) {
    ortCall('CreateAndRegisterAllocator', ortEnvironment().pointer, cpuMemoryInfo(), null);
    hasSharedArena = true;
  }
  ortCall('AddSessionConfigEntry', pointer, 'session.use_env_allocators', '1');
  // A memory pattern is one block for a whole run, and each graph would need a separate one.
  ortCall('DisableMemPattern', pointer);
}
