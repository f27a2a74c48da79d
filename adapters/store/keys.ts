// Which keys and prefixes a store takes: the same in every driver, so that what one holds can be copied to another.
// It knows no driver.
import { StoreError } from './store.ts';

const SEGMENT = /^[A-Za-z0-9._-]+$/;
/** The limit of S3. */
const MAX_KEY_BYTES = 1024;
/** A segment is a file's name in a folder: the limit of file systems. */
const MAX_SEGMENT_BYTES = 255;

/** @throws StoreError of kind `invalid` */
export function checkKey(key: string): void {
  if (!key.split('/').every(isSegment)) throw malformed('key', key);
  if (key.length > MAX_KEY_BYTES) throw malformed('key', key);
}

/**
 * A prefix is the beginning of a key, in any place.
 * @throws StoreError of kind `invalid`
 */
export function checkPrefix(prefix: string): void {
  const segments = prefix.split('/');
  const begun = segments.pop()!;
  const isBegun = begun === '' || (SEGMENT.test(begun) && begun.length <= MAX_SEGMENT_BYTES);
  if (!isBegun || !segments.every(isSegment)) throw malformed('prefix', prefix);
  if (prefix.length > MAX_KEY_BYTES) throw malformed('prefix', prefix);
}

export function isSegment(text: string): boolean {
  const isDots = text === '.' || text === '..';
  return SEGMENT.test(text) && !isDots && text.length <= MAX_SEGMENT_BYTES;
}

/** In the order of keys: they are ASCII, so code units are bytes. */
export function compareKeys(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** The key is quoted and cut: it may be anything. */
function malformed(what: string, text: string): StoreError {
  return new StoreError('invalid', `malformed ${what}: ${JSON.stringify(text.slice(0, 80))}`);
}
