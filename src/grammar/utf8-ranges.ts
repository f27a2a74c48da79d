// Converts ranges of code points to sequences of byte ranges in UTF-8.
import type { CharRange } from './text-pattern.ts';

/** The first and the last value of one byte. */
type ByteRange = readonly [first: number, last: number];

/** Code points whose encodings have the same length. Surrogates have none. */
const LENGTHS: readonly CharRange[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

/** The largest byte in any text. */
export const LAST_TEXT_BYTE = 0xf7;

/** Returns the bytes that represent a control token. They are not text, so no pattern of text matches them. */
export function controlTokenBytes(id: number): number[] {
  return [0xff, (id >> 16) & 0xff, (id >> 8) & 0xff, id & 0xff];
}

/** Whether the bytes represent a control token. */
export function isControlToken(bytes: Uint8Array): boolean {
  return bytes.length === 4 && bytes[0] === 0xff;
}

/** Returns sequences of byte ranges that together match the UTF-8 encodings of exactly these code points. */
export function toByteRanges([first, last]: CharRange): ByteRange[][] {
  if (last <= 0x7f) return [[[first, last]]];
  return LENGTHS.flatMap(([from, to]) =>
    first <= to && last >= from ? [...split(Math.max(first, from), Math.min(last, to))] : [],
  );
}

/** Splits a range until all bytes after the first differing one cover their full range. */
function* split(first: number, last: number): Generator<ByteRange[]> {
  const low = encode(first);
  const high = encode(last);
  for (let i = 1; i < low.length; i++) {
    const mask = (1 << (6 * i)) - 1;
    if ((first & ~mask) === (last & ~mask)) continue;
    const boundary = (first & mask) !== 0 ? (first | mask) + 1 : last & ~mask;
    if ((first & mask) === 0 && (last & mask) === mask) continue;
    yield* split(first, boundary - 1);
    yield* split(boundary, last);
    return;
  }
  yield low.map((byte, i) => [byte, high[i]!]);
}

function encode(point: number): number[] {
  if (point <= 0x7f) return [point];
  const rest = (shift: number) => 0x80 | ((point >> shift) & 0x3f);
  if (point <= 0x7ff) return [0xc0 | (point >> 6), rest(0)];
  if (point <= 0xffff) return [0xe0 | (point >> 12), rest(6), rest(0)];
  return [0xf0 | (point >> 18), rest(12), rest(6), rest(0)];
}
