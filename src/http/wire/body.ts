// Reads a JSON body within limits of bytes, time and depth, and accepts only valid UTF-8. Counts the bytes that arrive, and
// uses a Content-Length only to refuse a body early. Never decompresses. The route's schema checks the content. (Hono's
// body-limit bounds the bytes alone: a client that sends slowly would hold its request open.)

import { type ErrorCode, ServeError } from '../../common/errors.ts';
import { formatFileSize } from '../../common/format-bytes.ts';
import { scanJson } from '../../common/json-scan.ts';
import { deadline, unlessAborted } from '../../common/waiting.ts';
import type { HttpLimits } from './limits.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/** Keeps a byte order mark. The parser then refuses it, as RFC 8259 allows. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the parsed body. Throws `ServeError` (400, 408, 413 or 415). */
export async function readJsonBody(request: Request, limits: HttpLimits): Promise<unknown> {
  const expected = 'The body must be JSON in UTF-8. Set Content-Type to application/json.';
  const bytes = await readBytes(request, limits, { type: JSON_TYPE, expected });
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch (cause) {
    throw new ServeError('invalid_utf8', 'The body is not valid UTF-8.', { cause });
  }
  checkJson(text, limits);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message would quote the body.
    throw new ServeError(
      'invalid_json',
      'The body is not one valid JSON value. Check its quotes and commas.',
    );
  }
}

/** Returns the bytes of a body of this type. Throws `ServeError` (400, 408, 413 or 415). */
export function readBytesOfType(
  request: Request,
  type: string,
  limits: HttpLimits,
): Promise<Uint8Array> {
  const expected = `The body must be ${type}. Set Content-Type to it.`;
  return readBytes(request, limits, {
    type: new RegExp(`^${type.replaceAll('.', '\\.')}$`),
    expected,
  });
}

/** Throws `ServeError` (415) for a body of another type, and for a compressed one. */
export function checkMediaType(headers: Headers, type: RegExp, expected: string): void {
  if (!type.test(headers.get('content-type') ?? '')) {
    throw new ServeError('unsupported_media_type', expected);
  }
  if (!headers.has('content-encoding')) return;
  const message = 'Compressed bodies are not supported. Send the body without Content-Encoding.';
  throw new ServeError('unsupported_media_type', message);
}

function tooLarge(limits: HttpLimits): ServeError {
  return new ServeError(
    'payload_too_large',
    `The body is larger than ${formatFileSize(limits.maxBodyBytes)}, the limit of a request. Send less, in several requests.`,
  );
}

async function readBytes(
  request: Request,
  limits: HttpLimits,
  { type, expected }: { type: RegExp; expected: string },
): Promise<Uint8Array> {
  checkMediaType(request.headers, type, expected);
  if (Number(request.headers.get('content-length')) > limits.maxBodyBytes) throw tooLarge(limits);
  if (!request.body) return new Uint8Array();
  const reader = request.body.getReader();
  const tooSlow = `The body took longer than ${limits.bodyTimeoutMs / 1000} s to arrive. Send it faster, or send less.`;
  using late = deadline(limits.bodyTimeoutMs, new ServeError('request_timeout', tooSlow));
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await unlessAborted(reader.read(), late.signal);
      if (done) return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size);
      size += value.byteLength;
      if (size > limits.maxBodyBytes) throw tooLarge(limits);
      chunks.push(value);
    }
  } catch (error) {
    void dropRest(reader);
    throw error instanceof ServeError ? error : endedEarly(error);
  }
}

/**
 * Reads the rest of a refused body, so that its connection can take the next request. A cancelled stream would stay paused, and
 * the HTTP adapter would cut the connection after a while, together with that request.
 */
export async function dropRest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  try {
    while (!(await reader.read()).done);
  } catch {} // the sender is gone
}

/** Returns the error for a body whose sender is gone. */
export function endedEarly(cause: unknown): ServeError {
  const message = 'The body ended before its last byte. Send the request again.';
  return new ServeError('invalid_request', message, { cause });
}

/**
 * Throws `ServeError` for nesting deeper than `maxJsonDepth` (the parser recurses), for more than `maxJsonMembers` members
 * (each key becomes a separate string), for a duplicate name in the outermost object (parsers differ in which one counts), and
 * for a `\u` escape that is half of a surrogate pair.
 */
function checkJson(text: string, { maxJsonDepth, maxJsonMembers }: HttpLimits): void {
  const outer = new OuterKeys();
  scanJson(text, {
    maxDepth: maxJsonDepth,
    maxMembers: maxJsonMembers,
    onOuterKey: (quoted) => outer.add(quoted),
    onUnicodeEscape: skipUnicodeEscape,
    toError: (bound) =>
      bound === 'maxDepth'
        ? outer.error('invalid_json', `The body is nested deeper than ${maxJsonDepth} levels.`)
        : outer.error('invalid_request', `The body has more than ${maxJsonMembers} members.`),
  });
}

/** Returns the index of the last character of the escape whose `u` is at `i`. */
function skipUnicodeEscape(text: string, i: number): number {
  const unit = hex4(text, i + 1);
  if (unit < 0xd800 || unit > 0xdfff) return i;
  const low = text.startsWith('\\u', i + 5) ? hex4(text, i + 7) : 0;
  if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) {
    throw new ServeError(
      'invalid_utf8',
      'A \\u escape is half of a surrogate pair. Send the character whole, or both halves.',
    );
  }
  return i + 10;
}

/** Returns NaN unless there are four hex digits. Comparisons then fail, and the parser refuses the text. */
function hex4(text: string, i: number): number {
  return Number.parseInt(text.slice(i, i + 4), 16);
}

/** The outermost object's keys so far. The scan is inside the last one. */
class OuterKeys {
  readonly #keys = new Set<string>();
  #last: string | undefined;

  add(quoted: string): void {
    let key: string;
    try {
      key = JSON.parse(quoted);
    } catch {
      return; // malformed, which the parser reports
    }
    this.#last = key;
    if (this.#keys.has(key))
      throw this.error('invalid_json', 'The body has the same member twice. Send it once.');
    this.#keys.add(key);
  }

  error(code: ErrorCode, message: string): ServeError {
    const param = this.#last?.slice(0, 64);
    return new ServeError(code, message, param ? { param } : {});
  }
}
