// A store in a bucket of any S3-compatible service. Credentials, region and endpoint are read by the client itself
// (AWS_* variables and files), and it tries again by itself; deadlines on answers and bodies are ours. It knows no
// content: whether a body is the right one, its digest says.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { assert } from '../../src/common/assert.ts';
import { onDisk, readSource } from './disk-error.ts';
import { checkKey, checkPrefix, compareKeys } from './keys.ts';
import { isAbsent, isExpired, toStoreError } from './s3-error.ts';
import {
  type ListEntry,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutOptions,
  type PutSource,
  type StoreCall,
  type StoredObject,
  StoreError,
  type WrittenObject,
} from './store.ts';

/** Larger files go up in parts of this size, two at once: a put holds 16 MiB at most. */
const PART_BYTES = 8 * 2 ** 20;
const PARTS_AT_ONCE = 2;
/** An upload that is slower than 64 KiB/s has stalled. */
const MIN_BYTES_PER_MS = 64 * 1.024;

export interface S3Deadlines {
  /** Of one try, until a connection stands. */
  readonly connectMs: number;
  /** Of one try, from the request to the answer's headers; the time to send what is put comes on top. */
  readonly firstByteMs: number;
  /** Between two pieces of a body. */
  readonly idleMs: number;
}

export interface S3StoreOptions {
  /** `https://endpoint/bucket/key`, as most services but AWS want it; else `https://bucket.endpoint/key`. */
  readonly isPathStyle: boolean;
  /** Whether puts carry CRC32 where the service need not have one: some refuse them. */
  readonly checksums: 'when_supported' | 'when_required';
  readonly deadlines?: S3Deadlines;
  /** Instead of what AWS_* say. */
  readonly connection?: Pick<S3ClientConfig, 'endpoint' | 'region' | 'credentials'>;
}

const DEADLINES: S3Deadlines = { connectMs: 3_000, firstByteMs: 5_000, idleMs: 5_000 };

interface PutProgress {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: PutOptions['onProgress'];
}

export interface S3Place {
  readonly bucket: string;
  /** Without `/` at its ends; empty: the whole bucket. */
  readonly prefix: string;
}

export function createS3Store(place: S3Place, options: S3StoreOptions): ObjectStore {
  return new S3Store(place, options);
}

class S3Store implements ObjectStore {
  readonly label: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  /** Before every key: empty, or with its final `/`. */
  readonly #base: string;
  readonly #deadlines: S3Deadlines;
  #isBucketSeen = false;

  constructor(
    { bucket, prefix }: S3Place,
    { isPathStyle, checksums, deadlines = DEADLINES, connection }: S3StoreOptions,
  ) {
    this.label = `s3://${bucket}${prefix && `/${prefix}`}`;
    this.#bucket = bucket;
    this.#base = prefix && `${prefix}/`;
    this.#deadlines = deadlines;
    this.#client = new S3Client({
      ...connection,
      forcePathStyle: isPathStyle,
      requestChecksumCalculation:
        checksums === 'when_supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
      // A checked body is a stream around the connection that neither closes it nor hears that it broke.
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: deadlines.connectMs,
        requestTimeout: sendingMs(deadlines, PART_BYTES),
        throwOnRequestTimeout: true,
      },
    });
    renewExpired(this.#client);
  }

  get(key: string, { signal }: StoreCall = {}): Promise<StoredObject | undefined> {
    return this.#call(key, signal, async () => {
      const command = new GetObjectCommand(this.#at(key));
      const found = await this.#client.send(command, this.#reading(signal)).catch(ignoreAbsence);
      this.#isBucketSeen = true;
      if (!found) return;
      const info = infoOf(key, found.ContentLength, found);
      return { ...info, body: this.#read(found.Body as Readable, info, signal) };
    });
  }

  head(key: string, { signal }: StoreCall = {}): Promise<ObjectInfo | undefined> {
    return this.#call(key, signal, async () => {
      const command = new HeadObjectCommand(this.#at(key));
      const found = await this.#client.send(command, this.#reading(signal)).catch(ignoreAbsence);
      if (!found) await this.#assertBucket(signal);
      this.#isBucketSeen = true;
      return found && infoOf(key, found.ContentLength, found);
    });
  }

  put(
    key: string,
    source: PutSource,
    { signal, ifAbsent, ifMatch, onProgress }: PutOptions = {},
  ): Promise<WrittenObject> {
    assert(!ifAbsent || ifMatch === undefined, 'a put has one condition');
    return this.#call(key, signal, async () => {
      const target = {
        ...this.#at(key),
        ...(ifAbsent && { IfNoneMatch: '*' }),
        ...(ifMatch !== undefined && { IfMatch: ifMatch }),
      };
      const byteSize = await sizeOf(source, signal);
      const written = await (source instanceof Uint8Array || byteSize <= PART_BYTES
        ? this.#putWhole(target, await readSource(source, signal), signal)
        : this.#putParts(target, source.file, { signal, onProgress })
      ).catch((error: unknown) => {
        // The condition names an object, and it is no more.
        throw isAbsent(error) ? new StoreError('conflict', `${key} is gone`) : error;
      });
      this.#isBucketSeen = true;
      return { key, byteSize, etag: etagOf(written) };
    });
  }

  delete(key: string, { signal }: StoreCall = {}): Promise<void> {
    return this.#call(key, signal, async () => {
      const command = new DeleteObjectCommand(this.#at(key));
      await this.#client.send(command, this.#reading(signal)).catch(ignoreAbsence);
    });
  }

  async *list(
    prefix: string,
    { signal, delimiter, after }: ListOptions = {},
  ): AsyncIterable<ListEntry> {
    checkPrefix(prefix);
    const input = {
      Bucket: this.#bucket,
      Prefix: this.#base + prefix,
      Delimiter: delimiter,
      StartAfter: after && this.#base + after,
    };
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({ ...input, ContinuationToken: token });
      const page = await onService(this.label, signal, () =>
        this.#client.send(command, this.#reading(signal)),
      );
      for (const entry of this.#entriesOf(page)) {
        // Whether a folder that begins before `after` is given differs between services.
        if (after === undefined || entry.key > after) yield entry;
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async #putWhole(target: Target, body: Uint8Array, signal: AbortSignal | undefined) {
    const requestTimeout = sendingMs(this.#deadlines, body.byteLength);
    const command = new PutObjectCommand({ ...target, Body: body });
    return this.#client.send(command, { requestTimeout, ...abortBy(signal) });
  }

  /** Parts of a put that fails or is aborted are removed; those of a killed process by the bucket's rules only. */
  async #putParts(target: Target, file: string, { signal, onProgress }: PutProgress) {
    signal?.throwIfAborted();
    const body = createReadStream(file, { highWaterMark: 2 ** 20 });
    const params = { ...target, Body: body };
    const parts = { partSize: PART_BYTES, queueSize: PARTS_AT_ONCE };
    const upload = new Upload({ client: this.#client, params, ...parts });
    upload.on('httpUploadProgress', ({ loaded = 0 }) => onProgress?.(loaded));
    const abort = (): void => void upload.abort();
    signal?.addEventListener('abort', abort);
    try {
      return await upload.done();
    } finally {
      signal?.removeEventListener('abort', abort);
      body.destroy();
    }
  }

  async *#read(
    body: Readable,
    { key, byteSize }: ObjectInfo,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    let received = 0;
    try {
      for (;;) {
        const { value, done } = await onService(this.#name(key), signal, () =>
          this.#withinIdle(body, chunks.next()),
        );
        if (done) break;
        received += value.byteLength;
        yield value;
      }
    } finally {
      // Whatever is left unread goes with the connection.
      body.destroy();
    }
    if (received === byteSize) return;
    const count = `${received} of ${byteSize} bytes`;
    throw new StoreError('unavailable', `${this.#name(key)}: ended after ${count}`);
  }

  /** The time that a reader takes between two pieces does not count. */
  async #withinIdle<T>(body: Readable, piece: Promise<T>): Promise<T> {
    const { idleMs } = this.#deadlines;
    const stalled = new StoreError('unavailable', `the body stalled for ${idleMs} ms`);
    const timer = setTimeout(() => body.destroy(stalled), idleMs);
    try {
      return await piece;
    } finally {
      clearTimeout(timer);
    }
  }

  /** An answer to HEAD has no body to say whether it is the bucket that is not there. */
  async #assertBucket(signal: AbortSignal | undefined): Promise<void> {
    if (this.#isBucketSeen) return;
    const command = new HeadBucketCommand({ Bucket: this.#bucket });
    await this.#client.send(command, this.#reading(signal));
  }

  #call<T>(key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    return onService(this.#name(key), signal, () => {
      checkKey(key);
      return work();
    });
  }

  #entriesOf({ Contents = [], CommonPrefixes = [] }: ListObjectsV2CommandOutput): ListEntry[] {
    const keyOf = (text = ''): string => text.slice(this.#base.length);
    const objects = Contents.map((found): ListEntry => {
      return { kind: 'object', ...infoOf(keyOf(found.Key), found.Size, found) };
    });
    const folders = CommonPrefixes.map(({ Prefix }): ListEntry => {
      return { kind: 'folder', key: keyOf(Prefix) };
    });
    return [...objects, ...folders].sort((a, b) => compareKeys(a.key, b.key));
  }

  #at(key: string): Target {
    return { Bucket: this.#bucket, Key: this.#base + key };
  }

  #name(key: string): string {
    return `${this.label}/${key}`;
  }

  /** Of a call that sends no body. */
  #reading(signal: AbortSignal | undefined) {
    return { requestTimeout: this.#deadlines.firstByteMs, ...abortBy(signal) };
  }
}

/** The client renews credentials before they end; those that end sooner than they said are renewed here, once a call. */
function renewExpired(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        if (!isExpired(error)) throw error;
        await client.config.credentials({ forceRefresh: true });
        return next(args);
      }
    },
    { step: 'initialize', name: 'renewExpired', priority: 'high' },
  );
}

interface Target {
  readonly Bucket: string;
  readonly Key: string;
  readonly IfNoneMatch?: string;
  readonly IfMatch?: string;
}

/** Runs a call: it rejects with a `StoreError`, the signal's reason or an assertion. */
async function onService<T>(
  what: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  try {
    return await work();
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof StoreError ? error : toStoreError(what, error);
  }
}

async function sizeOf(source: PutSource, signal: AbortSignal | undefined): Promise<number> {
  if (source instanceof Uint8Array) return source.byteLength;
  return (await onDisk(source.file, signal, () => stat(source.file))).size;
}

function infoOf(
  key: string,
  byteSize: number | undefined,
  found: { readonly ETag?: string | undefined; readonly LastModified?: Date | undefined },
): ObjectInfo {
  const { LastModified: modified } = found;
  if (byteSize === undefined || modified === undefined) {
    throw new StoreError('unavailable', `${key}: the answer lacks a length or a date`);
  }
  return { key, byteSize, etag: etagOf(found), modifiedMs: modified.getTime() };
}

function etagOf({ ETag }: { readonly ETag?: string | undefined }): string {
  if (!ETag) throw new StoreError('unavailable', 'the answer lacks an ETag');
  return ETag;
}

function sendingMs({ firstByteMs }: S3Deadlines, byteSize: number): number {
  return firstByteMs + Math.ceil(byteSize / MIN_BYTES_PER_MS);
}

function abortBy(signal: AbortSignal | undefined) {
  return signal && { abortSignal: signal };
}

function ignoreAbsence(error: unknown): undefined {
  if (!isAbsent(error)) throw error;
}
