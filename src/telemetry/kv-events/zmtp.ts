// ZeroMQ's wire format, ZMTP 3.1 (https://rfc.zeromq.org/spec/37/): the frames of one connection, without authentication or
// encryption. Pure functions over bytes.

/** A frame of a message, or a command. */
export interface Frame {
  readonly isCommand: boolean;
  readonly body: Buffer;
}

const MORE = 1;
const LONG = 2;
const COMMAND = 4;
const MAX_SHORT_BYTES = 255;

/** The length of a greeting. */
export const GREETING_BYTES = 64;
/** A peer sends its metadata, and the beginnings of topics. */
const MAX_FRAME_BYTES = 4096;

/** The bytes of a peer break the protocol, or are of a version that is not spoken here. */
class ZmtpError extends Error {
  override name = 'ZmtpError';
}

/** Returns the greeting: the signature, version 3.1, and the mechanism NULL. */
export function greeting(): Buffer {
  const bytes = Buffer.alloc(GREETING_BYTES);
  bytes[0] = 0xff;
  bytes.set([0x7f, 3, 1], 9);
  bytes.write('NULL', 12);
  return bytes;
}

/** Throws `ZmtpError` if a peer with this greeting cannot be served. */
export function checkGreeting(bytes: Buffer): void {
  if (bytes[0] !== 0xff || (bytes[9]! & 1) !== 1) throw new ZmtpError('the peer is not ZeroMQ');
  if (bytes[10]! < 3) throw new ZmtpError('the peer is older than ZMTP 3.0');
  const mechanism = bytes.toString('latin1', 12, 32).replace(/\0+$/, '');
  if (mechanism !== 'NULL') throw new ZmtpError('the peer demands authentication');
}

/** Returns the frames of a message as bytes. */
export function encodeMessage(frames: readonly Uint8Array[]): Buffer {
  const parts = frames.flatMap((body, i) => {
    const flags = i < frames.length - 1 ? MORE : 0;
    return [header(flags, body.byteLength), body];
  });
  return Buffer.concat(parts);
}

/** Returns a command, such as READY, as bytes. */
export function encodeCommand(name: string, body: Uint8Array): Buffer {
  const named = Buffer.concat([Buffer.from([name.length]), Buffer.from(name, 'latin1'), body]);
  return Buffer.concat([header(COMMAND, named.byteLength), named]);
}

/** Returns one property of READY's metadata as bytes. */
export function encodeProperty(name: string, value: string): Buffer {
  const valueBytes = Buffer.from(value, 'latin1');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(valueBytes.byteLength);
  return Buffer.concat([
    Buffer.from([name.length]),
    Buffer.from(name, 'latin1'),
    length,
    valueBytes,
  ]);
}

/** Returns a command's name and its body. Throws `ZmtpError` if it has no name. */
export function parseCommand(body: Buffer): { name: string; body: Buffer } {
  const end = 1 + (body[0] ?? 0);
  if (end === 1 || end > body.byteLength) throw new ZmtpError('a command has no name');
  return { name: body.toString('latin1', 1, end), body: body.subarray(end) };
}

/** Splits a peer's bytes into frames, however they arrive. */
export class FrameReader {
  #bytes: Buffer = Buffer.alloc(0);

  /** Returns the frames that are complete. Throws `ZmtpError` if one is too long. */
  *read(bytes: Buffer): Generator<Frame> {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (;;) {
      const frame = this.#take();
      if (!frame) return;
      yield frame;
    }
  }

  #take(): Frame | undefined {
    const flags = this.#bytes[0];
    if (flags === undefined) return undefined;
    const isLong = (flags & LONG) !== 0;
    const start = isLong ? 9 : 2;
    if (this.#bytes.byteLength < start) return undefined;
    const length = isLong ? Number(this.#bytes.readBigUInt64BE(1)) : this.#bytes[1]!;
    if (length > MAX_FRAME_BYTES) throw new ZmtpError('a frame is too long');
    const end = start + length;
    if (this.#bytes.byteLength < end) return undefined;
    const body = this.#bytes.subarray(start, end);
    this.#bytes = this.#bytes.subarray(end);
    return { isCommand: (flags & COMMAND) !== 0, body };
  }
}

function header(flags: number, length: number): Buffer {
  if (length <= MAX_SHORT_BYTES) return Buffer.from([flags, length]);
  const bytes = Buffer.alloc(9);
  bytes[0] = flags | LONG;
  bytes.writeBigUInt64BE(BigInt(length), 1);
  return bytes;
}
