// Reads a multipart body with one file and streams the file to a temporary folder, so that memory does not grow with its size.
// Bounds bytes, fields and time. The caller interprets the fields.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyFileStream, type BusboyInstance } from '@fastify/busboy';
import { diskRefusal, fieldError, ServeError } from '../../common/errors.ts';
import { makeFolder } from '../../common/folders.ts';
import { formatFileSize } from '../../common/format-bytes.ts';
import { deadline, unlessAborted } from '../../common/waiting.ts';
import { checkMediaType, dropRest, endedEarly } from './body.ts';

/** The bounds of uploads. */
export interface UploadOptions {
  /** The folder that holds the file until the call ends. */
  readonly directory: string;
  readonly maxFileBytes: number;
  /** The longest pause between two pieces of the body. */
  readonly idleTimeoutMs: number;
}

/** A form that was read to the end. */
export interface UploadForm {
  /** The other parts of the form, by name. */
  readonly fields: ReadonlyMap<string, string>;
  readonly file: UploadedFile | undefined;
}

/** The file of a form. */
interface UploadedFile {
  readonly path: string;
  readonly filename: string;
  readonly byteSize: number;
}

const FORM_TYPE = /^multipart\/form-data\s*;/i;
/** Boundaries, part headers and the fields other than the file. */
const MAX_OVERHEAD_BYTES = 64 * 1024;
/**
 * `file`, `purpose` and `expires_after` take five parts. The others are allowed so that a client with extra parts gets a
 * precise error.
 */
const MAX_FIELDS = 16;
const MAX_FIELD_BYTES = 1024;
const MAX_HEADER_BYTES = 8192;
/** An error repeats at most this much of a part's name. */
const MAX_NAME_LENGTH = 64;
/** File systems allow 255 bytes. */
const MAX_FILENAME_LENGTH = 255;

/**
 * Reads the form, runs `use` on it and then removes its file. Throws `ServeError` (400, 408, 413, 415, or 507 if the disk
 * is full).
 */
export async function withUpload<T>(
  request: Request,
  options: UploadOptions,
  use: (form: UploadForm) => Promise<T>,
): Promise<T> {
  const expected = 'The body must be a form. Set Content-Type to multipart/form-data.';
  checkMediaType(request.headers, FORM_TYPE, expected);
  const { maxFileBytes } = options;
  if (Number(request.headers.get('content-length')) > maxFileBytes + MAX_OVERHEAD_BYTES) {
    throw tooLarge(maxFileBytes);
  }
  const file = path.join(options.directory, `upload-${randomUUID()}`);
  try {
    await makeFolder(options.directory);
    return await use(await readForm(request, file, options));
  } catch (error) {
    throw error instanceof ServeError ? error : (diskRefusal(error) ?? error);
  } finally {
    await rm(file, { force: true });
  }
}

async function readForm(
  request: Request,
  file: string,
  options: UploadOptions,
): Promise<UploadForm> {
  const parser = createParser(request, options);
  const stop = new AbortController();
  const fields = new Map<string, string>();
  let upload: Promise<UploadedFile> | undefined;
  parser.on('error', (cause) => stop.abort(malformed(cause)));
  // The parser's types hide that a part may have no name.
  const refuse = (name: string | undefined, fault: string) =>
    stop.abort(name ? fieldError(name.slice(0, MAX_NAME_LENGTH), fault) : malformed(fault));
  parser.on('field', (name: string | undefined, value, _, isCut) => {
    if (!name) return refuse(name, 'a field has no name');
    if (name === 'file') return refuse(name, 'has no file name; with curl: -F file=@PATH');
    if (isCut) refuse(name, `has more than ${MAX_FIELD_BYTES} bytes`);
    if (fields.has(name)) refuse(name, 'was sent twice. Send it once');
    fields.set(name, value);
  });
  parser.on('fieldsLimit', () => {
    stop.abort(new ServeError('invalid_request', `The form has more than ${MAX_FIELDS} fields.`));
  });
  parser.on('file', (name: string | undefined, stream, filename) => {
    if (name !== 'file' || upload) {
      stream.resume();
      refuse(
        name,
        'the form takes one file, as its part "file". Send each file in its own request',
      );
      return;
    }
    upload = saveFile(stream, file, { ...options, filename, signal: stop.signal });
    // If the file can't be written, nobody reads the parser's output, and the parser would wait forever.
    upload.catch((error) => stop.abort(error));
  });
  request.signal.addEventListener('abort', () => stop.abort(endedEarly(request.signal.reason)));
  try {
    await feed(request, parser, { ...options, signal: stop.signal });
    stop.signal.throwIfAborted();
    return { fields, file: await upload };
  } catch (error) {
    stop.abort(error);
    await upload?.catch(() => {}); // the caller removes the file, so the write must have ended
    throw error;
  }
}

function createParser(request: Request, { maxFileBytes }: UploadOptions): BusboyInstance {
  const limits = {
    fileSize: maxFileBytes,
    files: 2, // the second one is refused by name
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

interface PartOptions extends UploadOptions {
  /** Aborted with the error to throw if the rest of the body is useless. */
  readonly signal: AbortSignal;
}

/** Feeds the body to the parser until the form ends. */
async function feed(
  request: Request,
  parser: BusboyInstance,
  { idleTimeoutMs, maxFileBytes, signal }: PartOptions,
): Promise<void> {
  const tooSlow = `No data arrived for ${idleTimeoutMs / 1000} s, so the upload was ended. Send the file again.`;
  using idle = deadline(idleTimeoutMs, new ServeError('request_timeout', tooSlow), { signal });
  const finished = once(parser, 'finish', { signal: idle.signal });
  finished.catch(() => {}); // awaited below, unless the form has already failed
  const reader = request.body?.getReader();
  let byteSize = 0;
  try {
    for (;;) {
      idle.restart(idleTimeoutMs);
      const { done, value } = await unlessAborted(readChunk(reader), idle.signal);
      idle.stop();
      if (done) break;
      byteSize += value.byteLength;
      if (byteSize > maxFileBytes + MAX_OVERHEAD_BYTES) throw tooLarge(maxFileBytes);
      if (!parser.write(value)) await unlessAborted(once(parser, 'drain'), idle.signal);
    }
    parser.end();
    await unlessAborted(finished, idle.signal);
  } catch (error) {
    if (reader) void dropRest(reader);
    parser.destroy();
    throw error;
  }
}

async function readChunk(reader: ReadableStreamDefaultReader<Uint8Array> | undefined) {
  try {
    return (await reader?.read()) ?? { done: true as const, value: undefined };
  } catch (cause) {
    throw endedEarly(cause);
  }
}

async function saveFile(
  stream: BusboyFileStream,
  file: string,
  { filename, maxFileBytes, signal }: PartOptions & { filename: string | undefined },
): Promise<UploadedFile> {
  await pipeline(stream, createWriteStream(file), { signal });
  if (stream.truncated) throw tooLarge(maxFileBytes);
  // The cut may halve a surrogate pair, which is in \p{C}.
  const name = (filename ?? '').slice(0, MAX_FILENAME_LENGTH).replace(/\p{C}/gu, '');
  return { path: file, filename: name || 'file', byteSize: stream.bytesRead };
}

function tooLarge(maxBytes: number): ServeError {
  const message = `The file is larger than ${formatFileSize(maxBytes)}, the limit of this server (LORIKEET_MAX_FILE). Split it, or ask the operator to raise the limit.`;
  return new ServeError('payload_too_large', message, { param: 'file' });
}

function malformed(cause: unknown): ServeError {
  return new ServeError(
    'invalid_request',
    'The body is not a valid multipart form. Send the fields purpose and file, as curl -F does.',
    { cause },
  );
}
