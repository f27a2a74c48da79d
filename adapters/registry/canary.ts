// Which version of a split alias a request gets: by a hash, so that equal texts get equal versions and shares hold
// over many. Growing a share at the end moves requests to it only, none between the others.
import { createHash } from 'node:crypto';
import type { AliasPointer } from '../repository/manifest.ts';

/** `of`: what is split, so that shares of two aliases are independent of each other. */
export function chooseVersion(pointer: AliasPointer, of: string, sticky: string): number {
  if ('version' in pointer) return pointer.version;
  const hash = createHash('sha256').update(`${of}\0${sticky}`).digest();
  const point = (hash.readUIntBE(0, 6) / 2 ** 48) * 100;
  let end = 0;
  for (const { version, percent } of pointer.split) {
    end += percent;
    if (point < end) return version;
  }
  return pointer.split.at(-1)!.version; // shares that add up to a hair below 100
}
