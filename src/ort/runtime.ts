// ONNX Runtime's C library, loaded once from the onnxruntime-node package, and its functions by name with its
// own error text. Knows the library's place, version and environment; sessions and tensors are built on it.
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

/** A call that ONNX Runtime refused, in its own words. */
export class OrtError extends Error {
  override name = 'OrtError';
  /** Name of its `OrtErrorCode`, e.g. `INVALID_ARGUMENT`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** `OrtLoggingLevel`: what ONNX Runtime prints to standard error. */
const LOG_WARNINGS = 2;

interface Runtime {
  readonly version: string;
  readonly functions: Record<OrtFunction, NativeFunction>;
  /** `OrtEnv *`, alive as long as the process. */
  readonly env: bigint;
}

let loaded: Runtime | undefined;

/** The library and its environment, loaded at the first call. */
function runtime(): Runtime {
  loaded ??= load();
  return loaded;
}

/** Version of the loaded library, e.g. `1.30.0`. Throws where the package lacks it or has another one. */
export function runtimeVersion(): string {
  return runtime().version;
}

/** The process's one `OrtEnv *`. */
export function ortEnv(): bigint {
  return runtime().env;
}

/** The functions, each to be replaced by whoever has to play a part of the runtime that is not there: for tests. */
export function ortFunctions(): Record<OrtFunction, NativeFunction> {
  return runtime().functions;
}

/** Calls a function that answers with a status. Throws `OrtError`. */
export function ortCall(name: OrtFunction, ...args: CValue[]): void {
  const { functions } = runtime();
  check(functions, functions[name].sync(...args));
}

/** The same on a thread of the pool. The caller keeps alive what the arguments point to until it settles. */
export async function ortCallAsync(name: OrtFunction, ...args: CValue[]): Promise<void> {
  const { functions } = runtime();
  check(functions, await functions[name].async(...args));
}

/** Calls a function whose last parameter is an output of 8 bytes at most, e.g. a new object. */
export function ortGet(name: OrtFunction, ...args: CValue[]): bigint {
  const cell = new BigUint64Array(new ArrayBuffer(8)); // zero: an output of 4 bytes is its low half
  ortCall(name, ...args, cell);
  return cell[0]!;
}

/** Calls a function that answers nothing: `Release…` and `Clear…`. */
export function ortVoid(name: OrtFunction, ...args: CValue[]): void {
  runtime().functions[name].sync(...args);
}

function check(functions: Runtime['functions'], status: CValue): void {
  if (!status) return; // null
  const code = Number(functions.GetErrorCode.sync(status));
  const message = stringAt(functions.GetErrorMessage.sync(status) as bigint);
  functions.ReleaseStatus.sync(status);
  throw new OrtError(ERROR_CODES[code] ?? `code ${code}`, message);
}

function load(): Runtime {
  const { file, version: expected } = locateLibrary();
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
  const functions = bindTable(table);
  const cell = new BigUint64Array(new ArrayBuffer(8));
  check(functions, functions.CreateEnv.sync(LOG_WARNINGS, 'lorikeet', cell));
  return { version, functions, env: cell[0]! };
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

/** @throws ConfigError with the system's reason, such as another C library than the one it was built for */
function openLibrary(file: string): ReturnType<typeof loadLibrary> {
  try {
    return loadLibrary(file);
  } catch (error) {
    throw new ConfigError([
      `ONNX Runtime cannot be loaded: ${(error as Error).message}. On Linux its library needs glibc: use an image such as node:24-slim, not Alpine.`,
    ]);
  }
}

/** The package's root. @throws ConfigError if it is not installed */
function locatePackage(): string {
  const require = createRequire(import.meta.url);
  try {
    // The package exports its entry only: dist/index.js, one folder below the root.
    return path.dirname(path.dirname(require.resolve('onnxruntime-node')));
  } catch {
    throw new ConfigError([
      'The package onnxruntime-node is not installed. Run npm install again.',
    ]);
  }
}

/**
 * The library inside the onnxruntime-node package, whose layout is no contract.
 * @throws ConfigError if it is missing
 */
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
