// A store in a bucket of any S3-compatible service. The client reads credentials, region and endpoint from AWS_* variables
// and files, and retries failed calls. This file adds deadlines for answers and bodies.
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
import { deadline, unlessAborted } from '../../src/common/waiting.ts';
import { onDisk, readSource } from './fs-folders.ts';
import { isAbsent, isExpired, toStoreError } from './s3-error.ts';
import {
  checkKey,
  checkPrefix,
  compareKeys,
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

/** Larger files are uploaded in parts of this size, two at a time, so a put takes at most 16 MiB of memory. */
const PART_BYTES = 8 * 2 ** 20;
const PARTS_AT_ONCE = 2;
/** An upload slower than 64 KiB/s has stalled. */
const MIN_BYTES_PER_MS = 64 * 1.024;

/** How long to wait for the service. */
interface S3Deadlines {
  /** Until the connection of one try is open. */
  readonly connectMs: number;
  /** From one try's request to the response headers, plus the time to send a body. */
  readonly firstByteMs: number;
  /** Between two chunks of a body. */
  readonly idleMs: number;
}

/** How to talk to the service. */
export interface S3StoreOptions {
  /** Uses `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`. Most services except AWS need it. */
  readonly isPathStyle: boolean;
  /** Whether puts carry a CRC32 that the service does not require. Some services refuse it. */
  readonly checksums: 'when_supported' | 'when_required';
  readonly deadlines?: S3Deadlines;
  /** Overrides the AWS_* variables. */
  readonly connection?: Pick<S3ClientConfig, 'endpoint' | 'region' | 'credentials'>;
}

const DEADLINES: S3Deadlines = { connectMs: 3_000, firstByteMs: 5_000, idleMs: 5_000 };

interface PutProgress {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: PutOptions['onProgress'];
}

/** The store's bucket and prefix. */
interface S3Location {
  readonly bucket: string;
  /** Without `/` at its ends. Empty means the whole bucket. */
  readonly prefix: string;
}

/** Opens a store in a bucket. Nothing is sent yet. */
export function createS3Store(location: S3Location, options: S3StoreOptions): ObjectStore {
  return new S3Store(location, options);
}

class S3Store implements ObjectStore {
  readonly label: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  /** The prefix of every key: empty, or with a final `/`. */
  readonly #base: string;
  readonly #deadlines: S3Deadlines;
  #isBucketSeen = false;

  constructor(
    { bucket, prefix }: S3Location,
    { isPathStyle, checksums, deadlines = DEADLINES, connection }: S3StoreOptions,
  ) {
    this.label = `s3://${bucket}${prefix && `/${prefix}`}`;
    this.#bucket = bucket;
    this.#base = prefix && `${prefix}/`;
    this.#deadlines = deadlines;
    // On Node 20 the client announces at each start that its versions of 2027 will need Node 22. This project chooses its version,
    // so its users cannot do anything about it.
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    this.#client = new S3Client({
      ...connection,
      forcePathStyle: isPathStyle,
      requestChecksumCalculation:
        checksums === 'when_supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
      // The client's checking stream neither closes the connection nor notices that it broke.
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
        // The object that the condition refers to is gone.
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
        // Services differ in whether they list a folder that starts before `after`.
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

  /**
   * Uploads a file in parts. The parts of a failed or aborted put are removed. If the process is killed, only the bucket's
   * lifecycle rules remove them.
   */
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
    const { idleMs } = this.#deadlines;
    const stalled = new StoreError('unavailable', `the body stalled for ${idleMs} ms`);
    using idle = deadline(idleMs, stalled, { signal });
    let received = 0;
    try {
      for (;;) {
        idle.restart(idleMs);
        const { value, done } = await onService(this.#name(key), signal, () =>
          unlessAborted(chunks.next(), idle.signal),
        );
        idle.stop(); // the reader's time does not count
        if (done) break;
        received += value.byteLength;
        yield value;
      }
    } finally {
      body.destroy(); // together with the connection, unless the body was read to its end
    }
    if (received === byteSize) return;
    const count = `${received} of ${byteSize} bytes`;
    throw new StoreError('unavailable', `${this.#name(key)}: ended after ${count}`);
  }

  /** A HEAD response does not say whether the object or the bucket is missing. */
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

  /** Returns the options of a call without a body. */
  #reading(signal: AbortSignal | undefined) {
    return { requestTimeout: this.#deadlines.firstByteMs, ...abortBy(signal) };
  }
}

/** Renews credentials that expire earlier than announced, once per call. The client itself renews others in time. */
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

/** Runs a call. Rejects with `StoreError` or the signal's reason. */
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
    throw new StoreError('unavailable', `${key}: the answer has no length or no date`);
  }
  // Some services list milliseconds, but the headers of an object have only seconds.
  const modifiedMs = Math.floor(modified.getTime() / 1000) * 1000;
  return { key, byteSize, etag: etagOf(found), modifiedMs };
}

function etagOf({ ETag }: { readonly ETag?: string | undefined }): string {
  if (!ETag) throw new StoreError('unavailable', 'the answer has no ETag');
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
