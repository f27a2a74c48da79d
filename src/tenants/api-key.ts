// API keys: how they look, how they are made, and what is kept of them. `lorikeet_{id}_{secret}`: a prefix that secret
// scanners can look for, an id that may be shown, and 256 random bits that are shown once. Knows no file and no tenant.
import { createHash, createHmac, randomBytes } from 'node:crypto';

/** 48 random bits, hex: what a key is looked up and revoked by. */
export const KEY_ID_PATTERN = /^[0-9a-f]{12}$/;

const API_KEY = /^lorikeet_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;
const ID_BYTES = 6;
const SECRET_BYTES = 32;

export interface ApiKey {
  readonly id: string;
  /** The whole key, secret. */
  readonly text: string;
}

export function createApiKey(): ApiKey {
  const id = randomBytes(ID_BYTES).toString('hex');
  return { id, text: `lorikeet_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}` };
}

/** The id of what looks like a key. */
export function keyIdOf(text: string): string | undefined {
  return API_KEY.exec(text)?.[1];
}

/** A key's 32 bytes as they are kept. A key is random, so it needs no slow hash. */
export type KeyDigest = (text: string) => Buffer;

/** SHA-256, keyed with the pepper where there is one: then the file alone cannot even confirm a key. */
export function createKeyDigest(pepper: string | undefined): KeyDigest {
  return (text) => {
    const hash = pepper === undefined ? createHash('sha256') : createHmac('sha256', pepper);
    return hash.update(text).digest();
  };
}
