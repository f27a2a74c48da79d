// Bounds the number of pieces that a request body arrives in. A piece costs the same however small it is, and the cost
// is paid by everybody: parsing and passing on a million chunks of one byte takes seconds of the event loop.
import { IncomingMessage } from 'node:http';
import { ServeError } from '../common/errors.ts';

/** Emitted once, with a `ServeError` (400), as soon as a body has come in too many pieces. The rest is dropped. */
export const FRAGMENTED = 'fragmented';

/** Pieces that any body may have. Clients that write a JSON body token by token stay below this. */
const MAX_SMALL_PIECES = 1024;
/** Past that number, the average size that pieces need. A TCP segment holds ten times as much. */
const MIN_AVERAGE_BYTES = 128;

/** A request that counts the pieces of its body. */
export class MeasuredMessage extends IncomingMessage {
  #pieces = 0;
  #bytes = 0;
  #isFragmented = false;

  /** Called by the parser for each piece, that is for each chunk of a chunked body. */
  override push(chunk: Uint8Array | null, encoding?: BufferEncoding): boolean {
    if (this.#isFragmented) return false;
    if (chunk === null) return super.push(chunk, encoding);
    this.#pieces++;
    this.#bytes += chunk.byteLength;
    if (this.#pieces <= MAX_SMALL_PIECES + this.#bytes / MIN_AVERAGE_BYTES) {
      return super.push(chunk, encoding);
    }
    this.#isFragmented = true;
    const message = `The body comes in too many small pieces. Send it whole, or in chunks of at least ${MIN_AVERAGE_BYTES} bytes.`;
    this.emit(FRAGMENTED, new ServeError('invalid_request', message));
    return false;
  }

  /** Called when the body's reader wants more. The rest of a body that was refused stays in the kernel. */
  override _read(byteSize: number): void {
    if (!this.#isFragmented) super._read(byteSize);
  }
}
