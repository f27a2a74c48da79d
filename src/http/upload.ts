// Reads a multipart body with one file: the file goes to a temporary folder as it comes, so that memory does not grow
// with it. Bounded in bytes, fields and time. What the fields mean is the route's.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyFileStream, type BusboyInstance } from '@fastify/busboy';
import { diskFullError, isDiskFull, ServeError } from '../common/errors.ts';

export interface UploadOptions {
  /** Where the file is kept until the call ends. */
  readonly directory: string;
  readonly maxFileBytes: number;
  /** Between two pieces of the body. */
  readonly idleTimeoutMs: number;
}

export interface Upload {
  /** Other parts of the form, by name. */
  readonly fields: ReadonlyMap<string, string>;
  readonly file: UploadedFile | undefined;
}

export interface UploadedFile {
  readonly path: string;
  readonly filename: string;
  readonly byteSize: number;
}

const FORM_TYPE = /^multipart\/form-data\s*;/i;
/** Boundaries, part headers and fields beside the file. */
const MAX_OVERHEAD_BYTES = 64 * 1024;
/** `file`, `purpose` and `expires_after` have five parts; whoever sends more gets an answer, too. */
const MAX_FIELDS = 16;
const MAX_FIELD_BYTES = 1024;
const MAX_HEADER_BYTES = 8192;
/** Names of files in file systems have 255 bytes. */
const MAX_FILENAME_LENGTH = 255;

/**
 * Runs `use` on the upload and removes its file when that ends. Throws `ServeError` (400, 408, 413, 415, or 507 if the
 * disk is full).
 */
export async function withUpload<T>(
  request: Request,
  options: UploadOptions,
  use: (upload: Upload) => Promise<T>,
): Promise<T> {
  checkHeaders(request.headers, options);
  const file = path.join(options.directory, `upload-${randomUUID()}`);
  try {
    await mkdir(options.directory, { recursive: true });
    return await use(await readForm(request, file, options));
  } catch (error) {
    throw isDiskFull(error) && !(error instanceof ServeError) ? diskFullError(error) : error;
  } finally {
    await rm(file, { force: true });
  }
}

function checkHeaders(headers: Headers, { maxFileBytes }: UploadOptions): void {
  if (!FORM_TYPE.test(headers.get('content-type') ?? '')) {
    throw new ServeError('unsupported_media_type', 'Content-Type must be multipart/form-data');
  }
  if (headers.has('content-encoding')) {
    const message = 'Request bodies with a Content-Encoding are refused';
    throw new ServeError('unsupported_media_type', message);
  }
  if (Number(headers.get('content-length')) > maxFileBytes + MAX_OVERHEAD_BYTES) {
    throw tooLarge(maxFileBytes);
  }
}

async function readForm(request: Request, file: string, options: UploadOptions): Promise<Upload> {
  const parser = createParser(request, options);
  const stop = new AbortController();
  const fields = new Map<string, string>();
  let uploaded: Promise<UploadedFile> | undefined;
  parser.on('error', (cause) => stop.abort(malformed(cause)));
  parser.on('field', (name, value) => void fields.set(name, value));
  parser.on('file', (name, stream, filename) => {
    if (name !== 'file') {
      stream.resume();
      return;
    }
    const { maxFileBytes } = options;
    uploaded = writeFile(stream, file, { filename, maxFileBytes, signal: stop.signal });
    // Once the file cannot be written nobody takes the parser's output: it would wait for ever.
    uploaded.catch((error) => stop.abort(error));
  });
  request.signal.addEventListener('abort', () => stop.abort(endedEarly(request.signal.reason)));
  try {
    await feed(request, parser, { ...options, signal: stop.signal });
    return { fields, file: await uploaded };
  } catch (error) {
    stop.abort(error);
    await uploaded?.catch(() => {}); // its file is removed next: nobody may still write it
    throw error;
  }
}

function createParser(request: Request, { maxFileBytes }: UploadOptions): BusboyInstance {
  const limits = {
    fileSize: maxFileBytes,
    files: 1,
    fields: MAX_FIELDS,
    fieldSize: MAX_FIELD_BYTES,
    headerSize: MAX_HEADER_BYTES,
  };
  try {
    const headers = { 'content-type': request.headers.get('content-type')! };
    return new Busboy({ headers, limits });
  } catch (cause) {
    throw malformed(cause);
  }
}

interface FeedOptions extends UploadOptions {
  /** Aborted, with a reason to throw, if the rest of the body is of no use. */
  readonly signal: AbortSignal;
}

/** Resolves when the form is read to its end. */
async function feed(
  request: Request,
  parser: BusboyInstance,
  { idleTimeoutMs, maxFileBytes, signal }: FeedOptions,
): Promise<void> {
  const over = new AbortController();
  const within = { signal: over.signal };
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), within);
  });
  const finished = once(parser, 'finish', within);
  for (const promise of [stopped, finished]) promise.catch(() => {});
  const reader = request.body?.getReader();
  const read = () =>
    reader?.read().catch((cause) => {
      throw endedEarly(cause);
    }) ?? { done: true as const, value: undefined };
  let byteSize = 0;
  try {
    for (;;) {
      const { done, value } = await inTime(Promise.race([read(), stopped]), idleTimeoutMs);
      if (done) break;
      byteSize += value.byteLength;
      if (byteSize > maxFileBytes + MAX_OVERHEAD_BYTES) throw tooLarge(maxFileBytes);
      if (!parser.write(value)) await Promise.race([once(parser, 'drain', within), stopped]);
    }
    parser.end();
    await Promise.race([finished, stopped]);
  } catch (error) {
    reader?.cancel().catch(() => {}); // the sender may already be gone
    parser.destroy();
    throw error;
  } finally {
    over.abort();
  }
}

function endedEarly(cause: unknown): ServeError {
  return new ServeError('invalid_request', 'The body ended early', { cause });
}

async function inTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new ServeError('request_timeout', `Nothing of the body came for ${ms} ms`);
    timer = setTimeout(() => reject(error), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

interface WriteOptions {
  readonly filename: string | undefined;
  readonly maxFileBytes: number;
  readonly signal: AbortSignal;
}

async function writeFile(
  stream: BusboyFileStream,
  file: string,
  { filename, maxFileBytes, signal }: WriteOptions,
): Promise<UploadedFile> {
  await pipeline(stream, createWriteStream(file), { signal });
  if (stream.truncated) throw tooLarge(maxFileBytes);
  await checkStart(file);
  const name = (filename ?? '').replace(/\p{C}/gu, '').slice(0, MAX_FILENAME_LENGTH);
  return { path: file, filename: name || 'file', byteSize: stream.bytesRead };
}

/** Magic bytes of other formats, by offset. */
const BINARY_STARTS = [
  ['gzip', 0, [0x1f, 0x8b]],
  ['zip', 0, [0x50, 0x4b, 0x03, 0x04]],
  ['zip', 0, [0x50, 0x4b, 0x05, 0x06]],
  ['tar', 257, [0x75, 0x73, 0x74, 0x61, 0x72]],
  ['UTF-16', 0, [0xff, 0xfe]],
  ['UTF-16', 0, [0xfe, 0xff]],
  ['UTF-16', 0, [0x7b, 0x00]],
  ['UTF-16', 0, [0x00, 0x7b]],
] as const;
/** Holds the first line of nearly every training file; the job checks them all. */
const START_BYTES = 64 * 1024;

/** Throws `ServeError` (400) if the file is empty or of another format, or its first line is no JSON object. */
async function checkStart(file: string): Promise<void> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(START_BYTES), 0, START_BYTES, 0);
    const start = buffer.subarray(0, bytesRead);
    for (const [kind, offset, bytes] of BINARY_STARTS) {
      if (!start.subarray(offset, offset + bytes.length).equals(Buffer.from(bytes))) continue;
      throw badFile(`is ${kind}; expected JSON lines in UTF-8, not compressed`);
    }
    checkFirstLine(start.toString('utf8'), bytesRead < START_BYTES);
  } finally {
    await handle.close();
  }
}

/** @param isWhole whether the text is all of the file */
function checkFirstLine(text: string, isWhole: boolean): void {
  const lines = text.replace(/^\ufeff/, '').split('\n');
  const index = lines.findIndex((line) => line.trim() !== '');
  if (index < 0 && isWhole) throw badFile('is empty; expected JSON lines');
  const isLineWhole = index >= 0 && (isWhole || index < lines.length - 1);
  if (!isLineWhole || isJsonObject(lines[index]!)) return;
  throw badFile(`line ${index + 1} is not a JSON object; expected JSON lines, one object a line`);
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function badFile(detail: string): ServeError {
  return new ServeError('invalid_request', `file: ${detail}`, { param: 'file' });
}

function tooLarge(maxBytes: number): ServeError {
  const message = `The file is larger than ${maxBytes} bytes`;
  return new ServeError('payload_too_large', message, { param: 'file' });
}

function malformed(cause: unknown): ServeError {
  return new ServeError('invalid_request', 'The body is no valid multipart form', { cause });
}
