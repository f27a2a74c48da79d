// Makes Node's own calls deterministic in this process: files are read and written at once instead of in threads that
// finish in any order, and random ids follow from a seed. The files are real, and production code is not touched.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { seededRandom } from '../fixtures.ts';

let random = seededRandom(0);
let isReplaced = false;

/** Replaces the calls, once per process, and starts the random ids of a seed. */
export function replaceNodeCalls(seed: number): void {
  random = seededRandom(seed);
  if (isReplaced) return;
  isReplaced = true;
  for (const name of ASYNC_CALLS) Object.assign(fs.promises, { [name]: asPromise(syncCall(name)) });
  for (const name of CALLBACK_CALLS) Object.assign(fs, { [name]: asCallback(name) });
  Object.assign(fs.promises, {
    open: async (...args: Parameters<typeof fs.openSync>) => new SyncHandle(fs.openSync(...args)),
    realpath: asPromise(fs.realpathSync.native as AnyCall),
  });
  Object.assign(crypto, { randomBytes: bytesOf, randomUUID: uuid });
  syncBuiltinESMExports();
}

const ASYNC_CALLS = [
  'access',
  'copyFile',
  'link',
  'lstat',
  'mkdir',
  'mkdtemp',
  'readFile',
  'readdir',
  'rename',
  'rm',
  'rmdir',
  'stat',
  'utimes',
  'writeFile',
] as const;
/** The calls that file streams make. */
const CALLBACK_CALLS = ['open', 'close', 'read', 'write', 'writev', 'fstat', 'stat'] as const;

type AnyCall = (...args: unknown[]) => unknown;

function syncCall(name: string): AnyCall {
  return (fs as unknown as Record<string, AnyCall>)[`${name}Sync`]!;
}

function asPromise(call: AnyCall): AnyCall {
  return async (...args) => call(...args);
}

function asCallback(name: string): AnyCall {
  const call = syncCall(name);
  return (...args) => {
    const callback = args.pop() as AnyCall;
    let outcome: unknown[];
    try {
      outcome = [null, call(...args), args[1]]; // reads and writes return their buffer too
    } catch (error) {
      outcome = [error];
    }
    process.nextTick(() => callback(...outcome));
  };
}

/** A file handle whose calls are done when they return. */
class SyncHandle {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  async stat(options?: fs.StatOptions) {
    return fs.fstatSync(this.fd, options as { bigint?: false });
  }

  async read(...args: unknown[]) {
    const [target, ...rest] = args as [Uint8Array, ...number[]];
    const [offset = 0, length = target.byteLength - offset, position = null] = rest;
    const bytesRead = fs.readSync(this.fd, target, offset, length, position);
    return { bytesRead, buffer: target };
  }

  async write(bytes: Uint8Array, offset = 0) {
    return { bytesWritten: fs.writeSync(this.fd, bytes, offset), buffer: bytes };
  }

  async readFile() {
    return fs.readFileSync(this.fd);
  }

  async writeFile(bytes: Uint8Array | string) {
    fs.writeFileSync(this.fd, bytes);
  }

  async sync() {}
  async datasync() {}

  async chmod(mode: number) {
    fs.fchmodSync(this.fd, mode);
  }

  async close() {
    fs.closeSync(this.fd);
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }
}

function bytesOf(size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, () => Math.floor((random() + 1) * 128)));
}

function uuid(): string {
  const hex = bytesOf(16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`;
}
