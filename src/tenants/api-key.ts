// API keys, `lorikeet_{id}_{secret}`: a prefix for secret scanners (before it another one, if a client demands it), an id that may be shown, and 256 random bits that are shown
// once. Creates and parses keys; does not store them.
import { createHash, createHmac, randomBytes } from 'node:crypto';

/** A key's id: 48 random bits in hex. Keys are looked up and revoked by it. */
export const KEY_ID_PATTERN = /^[0-9a-f]{12}$/;

const API_KEY = /^(?:[A-Za-z0-9]{1,16}-)?lorikeet_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;
/** A prefix that a client's keys must have, such as `tml-`. */
export const KEY_PREFIX = /^(?:[A-Za-z0-9]{1,16}-)?$/;
const ID_BYTES = 6;
const SECRET_BYTES = 32;

/** A new key. */
interface ApiKey {
  readonly id: string;
  /** The whole key, which is secret. */
  readonly text: string;
}

/** Makes a random key. @param prefix matches `KEY_PREFIX` */
export function createApiKey(prefix = ''): ApiKey {
  const id = randomBytes(ID_BYTES).toString('hex');
  return { id, text: `${prefix}lorikeet_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}` };
}

/** Returns the id of a key. Undefined if the text does not look like a key. */
export function keyIdOf(text: string): string | undefined {
  return API_KEY.exec(text)?.[1];
}

/** Returns the 32 bytes that are stored for a key. A key is random, so it needs no slow hash. */
export type KeyDigest = (text: string) => Buffer;

/** Returns SHA-256, keyed with the pepper if there is one. With a pepper, the file alone cannot confirm a key. */
export function createKeyDigest(pepper: string | undefined): KeyDigest {
  return (text) => {
    const hash = pepper === undefined ? createHash('sha256') : createHmac('sha256', pepper);
    return hash.update(text).digest();
  };
}
