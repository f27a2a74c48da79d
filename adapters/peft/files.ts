// Reads the two files of a PEFT folder, within bounds, and computes the adapter's digest. No other file in the folder is
// opened, and no link out of it is followed except to the blobs in Hugging Face's cache.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { constants, type FileHandle, open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { readHeader, type WeightsSize } from './header.ts';
import { invalidAdapter } from './refusal.ts';

export const CONFIG_FILE = 'adapter_config.json';
export const WEIGHTS_FILE = 'adapter_model.safetensors';
/** The weights file of older peft versions: a pickle, which runs code when it is read. */
const PICKLE_FILE = 'adapter_model.bin';

/** peft writes 1 KB. A rank for each module (EVA) makes 15 KB for a small model and 50 KB for a large one. */
export const MAX_CONFIG_BYTES = 64 * 1024;
/** Rank 64 on all linears of an 8-billion-parameter model in float32 takes 0.7 GB. */
export const MAX_WEIGHTS_BYTES = 2 ** 31;
/** Bytes hashed between two turns of the event loop, in less than a millisecond. */
const CHUNK_BYTES = 1024 * 1024;

/** An adapter's two files in memory, and their digest, hex. */
export interface AdapterFiles {
  /** `adapter_config.json`. */
  readonly configBytes: Uint8Array;
  /** `adapter_model.safetensors`. */
  readonly weightsBytes: Uint8Array;
  readonly digest: string;
}

/**
 * Computes an adapter's identity: SHA-256 over its configuration and weights, each preceded by its length. Moving bytes from
 * one file to the other therefore changes the digest.
 */
export class AdapterHasher {
  readonly #hash = createHash('sha256');

  /** Starts a file of so many bytes: the configuration first, then the weights. */
  startPart(byteLength: number): void {
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(BigInt(byteLength));
    this.#hash.update(prefix);
  }

  /** Adds the next bytes of the file. */
  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Returns the digest, hex. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

/** Returns the digest of an adapter whose files are in memory, hex. */
export function adapterDigest(configBytes: Uint8Array, weightsBytes: Uint8Array): string {
  const hasher = new AdapterHasher();
  for (const bytes of [configBytes, weightsBytes]) {
    hasher.startPart(bytes.length);
    hasher.update(bytes);
  }
  return hasher.digest();
}

/** Returns memory for a file of so many bytes. */
type AllocateFile = (byteLength: number) => Uint8Array;

const allocateNew: AllocateFile = (byteLength) => new Uint8Array(byteLength);

/**
 * Reads both files, the weights into memory from `allocate`. Throws `ServeError`: `adapter_invalid` naming the file, or
 * `adapter_unavailable`.
 */
export async function readAdapterFiles(
  directory: string,
  allocate = allocateNew,
): Promise<AdapterFiles> {
  const weights = createBufferSink(allocate);
  const { configBytes, digest } = await scan(directory, weights);
  return { configBytes, weightsBytes: weights.bytes(), digest };
}

/** The chunk of the last scan, for the next one. */
let idleChunk: Uint8Array | undefined;

/** Computes the digest without keeping the weights in memory. Throws as `readAdapterFiles`. */
export async function digestAdapterFiles(
  directory: string,
): Promise<Pick<AdapterFiles, 'configBytes' | 'digest'>> {
  const chunk = idleChunk ?? new Uint8Array(CHUNK_BYTES);
  idleChunk = undefined;
  try {
    return await scan(directory, { start: () => {}, room: () => chunk, chunk: () => {} });
  } finally {
    idleChunk = chunk;
  }
}

/** Reads the configuration. Throws as `readAdapterFiles`. */
export async function readAdapterConfig(directory: string): Promise<Uint8Array> {
  const config = createBufferSink();
  await readFile(directory, { name: CONFIG_FILE, maxBytes: MAX_CONFIG_BYTES }, config);
  return config.bytes();
}

/** Measures the weights by the header of their file. Throws as `readAdapterFiles`. */
export async function measureAdapterFiles(directory: string): Promise<WeightsSize> {
  const file = await openInside(directory, WEIGHTS_FILE);
  try {
    const fileBytes = await checkedSize(file, { name: WEIGHTS_FILE, maxBytes: MAX_WEIGHTS_BYTES });
    return await readHeader(fileBytes, async (position, length) => {
      const buffer = new Uint8Array(length);
      const { bytesRead } = await file.read(buffer, 0, length, position);
      return buffer.subarray(0, bytesRead);
    });
  } catch (error) {
    throw error instanceof ServeError
      ? error
      : unavailable(`${WEIGHTS_FILE} cannot be read`, error);
  } finally {
    await file.close();
  }
}

interface Sink {
  /** Called once before the first chunk. */
  start(byteLength: number): void;
  /** Returns memory for the bytes from `position` on. */
  room(position: number): Uint8Array;
  /** The bytes are valid only during the call. */
  chunk(bytes: Uint8Array): void;
}

function createBufferSink(allocate = allocateNew): Sink & { bytes(): Uint8Array } {
  let buffer: Uint8Array = new Uint8Array(0);
  return {
    start(byteLength) {
      buffer = allocate(byteLength);
    },
    room: (position) => buffer.subarray(position),
    chunk: () => {},
    bytes: () => buffer,
  };
}

async function scan(
  directory: string,
  weights: Sink,
): Promise<Pick<AdapterFiles, 'configBytes' | 'digest'>> {
  const hasher = new AdapterHasher();
  const hashInto = (sink: Sink): Sink => ({
    start(byteLength) {
      hasher.startPart(byteLength);
      sink.start(byteLength);
    },
    room: (position) => sink.room(position),
    chunk(bytes) {
      hasher.update(bytes);
      sink.chunk(bytes);
    },
  });
  const config = createBufferSink();
  await readFile(directory, { name: CONFIG_FILE, maxBytes: MAX_CONFIG_BYTES }, hashInto(config));
  await readFile(directory, { name: WEIGHTS_FILE, maxBytes: MAX_WEIGHTS_BYTES }, hashInto(weights));
  return { configBytes: config.bytes(), digest: hasher.digest() };
}

interface BoundedFile {
  readonly name: string;
  readonly maxBytes: number;
}

async function readFile(
  directory: string,
  { name, maxBytes }: BoundedFile,
  sink: Sink,
): Promise<void> {
  const file = await openInside(directory, name);
  try {
    const size = await checkedSize(file, { name, maxBytes });
    sink.start(size);
    for (let position = 0; position < size; ) {
      const room = sink.room(position);
      const length = Math.min(room.length, size - position, CHUNK_BYTES);
      const { bytesRead } = await file.read(room, 0, length, position);
      if (bytesRead === 0) throw unavailable(`${name} became shorter while it was read`);
      sink.chunk(room.subarray(0, bytesRead));
      position += bytesRead;
    }
  } catch (error) {
    throw error instanceof ServeError ? error : unavailable(`${name} cannot be read`, error);
  } finally {
    await file.close();
  }
}

async function checkedSize(file: FileHandle, { name, maxBytes }: BoundedFile): Promise<number> {
  const stats = await file.stat();
  if (!stats.isFile()) throw invalidAdapter(name, 'is not a regular file');
  if (stats.size <= maxBytes) return stats.size;
  throw invalidAdapter(
    name,
    `has ${formatFileSize(stats.size)}; the limit is ${formatFileSize(maxBytes)}`,
  );
}

/** Opens a file below the folder. `O_NONBLOCK` keeps a pipe of that name from blocking. */
async function openInside(directory: string, name: string): Promise<FileHandle> {
  const full = path.join(directory, name);
  try {
    const [folder, target] = await Promise.all([realpath(directory), realpath(full)]);
    if (!isWithin(folder, target) && !isBlobOf(folder, target)) {
      throw invalidAdapter(
        name,
        'is a link to a file outside its folder. Copy the file into the folder instead',
      );
    }
    return await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof ServeError) throw error;
    if (!isAbsence(error)) throw unavailable(`${name} cannot be opened`, error);
    const hasPickle = await realpath(path.join(directory, PICKLE_FILE)).then(
      () => name === WEIGHTS_FILE,
      () => false,
    );
    if (hasPickle)
      throw invalidAdapter(
        PICKLE_FILE,
        'is a pickle, which is not supported. Save the adapter as safetensors.',
      );
    if (!existsSync(directory)) throw invalidAdapter(path.basename(directory), 'no such folder');
    throw invalidAdapter(name, "is missing from the adapter's folder");
  }
}

function isWithin(folder: string, target: string): boolean {
  return target.startsWith(folder + path.sep);
}

/** Whether a link leads to a blob of the same model in Hugging Face's cache (`snapshots/REVISION` to `blobs`). */
function isBlobOf(folder: string, target: string): boolean {
  const snapshots = path.dirname(folder);
  if (path.basename(snapshots) !== 'snapshots') return false;
  return isWithin(path.join(path.dirname(snapshots), 'blobs'), target);
}

const ABSENCE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);

/** Whether an I/O error means that the path does not exist. */
export function isAbsence(error: unknown): boolean {
  return ABSENCE.has((error as NodeJS.ErrnoException).code ?? '');
}

function unavailable(message: string, cause?: unknown): ServeError {
  return new ServeError(
    'adapter_unavailable',
    `adapter unavailable: ${message}. Check that the server may read the adapter's folder, and try again.`,
    { cause },
  );
}
