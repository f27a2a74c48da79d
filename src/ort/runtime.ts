// Loads ONNX Runtime's C library from the onnxruntime-node package, once, and calls its functions by name. Sessions and tensors
// build on this.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { ConfigError } from '../common/errors.ts';
import { ORT_API, ORT_API_VERSION, type OrtFunction } from './api.ts';
import {
  type CValue,
  functionAt,
  functionOf,
  loadLibrary,
  type NativeFunction,
  pointerAt,
  stringAt,
} from './ffi.ts';

/** `OrtErrorCode` of onnxruntime_c_api.h, in order. */
const ERROR_CODES = [
  ...['OK', 'FAIL', 'INVALID_ARGUMENT', 'NO_SUCHFILE', 'NO_MODEL', 'ENGINE_ERROR'],
  ...['RUNTIME_EXCEPTION', 'INVALID_PROTOBUF', 'MODEL_LOADED', 'NOT_IMPLEMENTED', 'INVALID_GRAPH'],
  ...['EP_FAIL', 'MODEL_LOAD_CANCELED', 'MODEL_REQUIRES_COMPILATION', 'NOT_FOUND'],
] as const;

/** An error of ONNX Runtime, with the runtime's message. */
export class OrtError extends Error {
  override name = 'OrtError';
  /** The name of the `OrtErrorCode`, such as `INVALID_ARGUMENT`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The `OrtLoggingLevel` from which ONNX Runtime prints to standard error. */
const LOG_WARNINGS = 2;

interface Runtime {
  readonly version: string;
  readonly functions: Record<OrtFunction, NativeFunction>;
}

/** The environment of all sessions, which lives as long as the process. */
interface Environment {
  /** The `OrtEnv *`. */
  readonly pointer: bigint;
  /** The size of its thread pool; 0: one per core. */
  readonly threads: number;
}

let instance: Runtime | undefined;
let environment: Environment | undefined;

/** Loads the library on the first call. */
function runtime(): Runtime {
  instance ??= loadRuntime();
  return instance;
}

/** The version of the loaded library, such as `1.30.0`. Throws if the library is missing or has another version. */
export function runtimeVersion(): string {
  return runtime().version;
}

/**
 * The only environment of this process. The first call sets its number of threads, which sessions can share. By default there
 * are none in addition to the caller's thread.
 */
export function ortEnvironment(threads = 1): Environment {
  environment ??= createEnvironment(threads);
  return environment;
}

/** The runtime's functions, for tests that replace some of them to simulate a device. */
export function ortFunctions(): Record<OrtFunction, NativeFunction> {
  return runtime().functions;
}

/** Calls a function that returns a status. Throws `OrtError`. */
export function ortCall(name: OrtFunction, ...args: CValue[]): void {
  const { functions } = runtime();
  throwIfFailed(functions, functions[name].sync(...args));
}

/** Calls a function on a thread of the pool. The caller must keep the arguments' memory alive until the promise settles. */
export async function ortCallAsync(name: OrtFunction, ...args: CValue[]): Promise<void> {
  const { functions } = runtime();
  throwIfFailed(functions, await functions[name].async(...args));
}

/** Calls a function whose last parameter is an output of at most 8 bytes, such as a new object. Throws `OrtError`. */
export function ortGet(name: OrtFunction, ...args: CValue[]): bigint {
  const cell = new BigUint64Array(new ArrayBuffer(8)); // zeroed, because an output of 4 bytes is the low half
  ortCall(name, ...args, cell);
  return cell[0]!;
}

/** Calls a function without a result: `Release…` or `Clear…`. */
export function ortVoid(name: OrtFunction, ...args: CValue[]): void {
  runtime().functions[name].sync(...args);
}

/** Returns a `Release…` function as a handle calls it. */
export function ortFree(name: OrtFunction): (pointer: bigint) => void {
  return (pointer) => ortVoid(name, pointer);
}

function throwIfFailed(functions: Runtime['functions'], status: CValue): void {
  if (!status) return; // null
  const code = Number(functions.GetErrorCode.sync(status));
  const message = stringAt(functions.GetErrorMessage.sync(status) as bigint);
  functions.ReleaseStatus.sync(status);
  throw new OrtError(ERROR_CODES[code] ?? `code ${code}`, message);
}

function loadRuntime(): Runtime {
  const { file, version: expected } = locateLibrary();
  // Otherwise the library keeps a device id in the user's home and reports CPU, system and graph names to its vendor. Only
  // setting this before loading prevents all of it. Child processes inherit it.
  process.env['ORT_DISABLE_TELEMETRY'] = '1';
  const library = openLibrary(file);
  const base = functionOf(library, 'OrtGetApiBase', [], 'pointer').sync() as bigint;
  // OrtApiBase: { GetApi, GetVersionString }
  const getVersion = functionAt(pointerAt(base, 1), [], 'pointer');
  const version = stringAt(getVersion.sync() as bigint);
  if (version !== expected) {
    throw new Error(`onnxruntime-node ${expected} holds a library of version ${version}`);
  }
  const getApi = functionAt(pointerAt(base, 0), ['uint32'], 'pointer');
  const table = getApi.sync(ORT_API_VERSION) as bigint;
  if (!table) throw new Error(`onnxruntime ${version} has no API of version ${ORT_API_VERSION}`);
  return { version, functions: bindTable(table) };
}

function createEnvironment(threads: number): Environment {
  const options = ortGet('CreateThreadingOptions');
  try {
    ortCall('SetGlobalIntraOpNumThreads', options, threads);
    const pointer = ortGet(
      'CreateEnvWithGlobalThreadPools',
      ...[LOG_WARNINGS, 'lorikeet', options],
    );
    ortCall('DisableTelemetryEvents', pointer); // Windows has no variable for it
    return { pointer, threads };
  } finally {
    ortVoid('ReleaseThreadingOptions', options);
  }
}

function bindTable(table: bigint): Runtime['functions'] {
  const entries = Object.entries(ORT_API).map(([name, { index, args, result }]) => {
    return [
      name,
      functionAt(pointerAt(table, index), args, result === 'status' ? 'pointer' : result),
    ];
  });
  return Object.fromEntries(entries) as Runtime['functions'];
}

/**
 * Opens the library. Throws `ConfigError` with the system's reason, for example that the library was built for another C
 * library.
 */
function openLibrary(file: string): ReturnType<typeof loadLibrary> {
  try {
    return loadLibrary(file);
  } catch (error) {
    throw new ConfigError([
      `ONNX Runtime cannot be loaded: ${(error as Error).message}. On Linux its library needs glibc: use an image such as node:24-slim, not Alpine.`,
    ]);
  }
}

/** Returns the root folder of the package. Throws `ConfigError` if it is not installed. */
function locatePackage(): string {
  const require = createRequire(import.meta.url);
  try {
    // The package only exports its entry, dist/index.js, which is one folder below the root.
    return path.dirname(path.dirname(require.resolve('onnxruntime-node')));
  } catch {
    throw new ConfigError([
      'The package onnxruntime-node is not installed. Run npm install again.',
    ]);
  }
}

/** Finds the library inside the onnxruntime-node package. Throws `ConfigError` if it is missing. */
function locateLibrary(): { file: string; version: string } {
  const root = locatePackage();
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const { platform, arch } = process;
  const names: Partial<Record<NodeJS.Platform, string>> = {
    darwin: `libonnxruntime.${version}.dylib`,
    win32: 'onnxruntime.dll',
  };
  const name = names[platform] ?? 'libonnxruntime.so.1';
  const file = path.join(root, 'bin', 'napi-v6', platform, arch, name);
  if (!existsSync(file)) {
    throw new ConfigError([
      `onnxruntime-node ${version} has no library for ${platform} ${arch}: ${file} is missing. If this system is Linux or Windows (x64, arm64) or macOS (arm64), install the package again; others are not supported.`,
    ]);
  }
  return { file, version };
}
