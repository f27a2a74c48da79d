// Reads a JSON body within limits of bytes, time and depth, and accepts only valid UTF-8. Counts the bytes that arrive; a
// Content-Length is only believed if it is too large. Never decompresses. Knows no schema. (Hono's body-limit bounds the
// bytes alone: a client that sends slowly would hold its request open.)
import { ServeError } from '../common/errors.ts';
import { deadline, unlessAborted } from '../common/waiting.ts';
import { scanJson } from './json-scan.ts';
import type { HttpLimits } from './limits.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/** Keeps a byte order mark, which the parser then refuses, as RFC 8259 allows. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Returns the parsed body. Throws `ServeError` (400, 408, 413 or 415). */
export async function readJsonBody(request: Request, limits: HttpLimits): Promise<unknown> {
  checkHeaders(request.headers, limits);
  const bytes = await readBytes(request, limits);
  let text: string;
  try {
    text = UTF8.decode(bytes);
  } catch (cause) {
    throw new ServeError('invalid_utf8', 'The body is not valid UTF-8.', { cause });
  }
  scanJson(text, limits);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message would quote the body.
    throw new ServeError('invalid_json', 'The body is not one valid JSON value.');
  }
}

function checkHeaders(headers: Headers, limits: HttpLimits): void {
  if (!JSON_TYPE.test(headers.get('content-type') ?? '')) {
    throw new ServeError(
      'unsupported_media_type',
      'The body must be JSON in UTF-8. Set Content-Type to application/json.',
    );
  }
  if (headers.has('content-encoding')) {
    throw new ServeError(
      'unsupported_media_type',
      'Compressed bodies are not supported. Send the body without Content-Encoding.',
    );
  }
  if (Number(headers.get('content-length')) > limits.maxBodyBytes) throw tooLarge(limits);
}

function tooLarge(limits: HttpLimits): ServeError {
  return new ServeError(
    'payload_too_large',
    `The body is larger than ${limits.maxBodyBytes} bytes.`,
  );
}

async function readBytes(request: Request, limits: HttpLimits): Promise<Uint8Array> {
  if (!request.body) return new Uint8Array();
  const reader = request.body.getReader();
  const tooSlow = `The body took longer than ${limits.bodyTimeoutMs} ms to arrive.`;
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
    reader.cancel().catch(() => {}); // the sender may already be gone
    if (error instanceof ServeError) throw error;
    throw new ServeError('invalid_request', 'The body ended early.', { cause: error });
  }
}
