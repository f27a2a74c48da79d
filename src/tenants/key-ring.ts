// A key → its tenant, in memory. Where a wrong key differs from the right one does not show in the time that its
// refusal takes; that an id exists, which is no secret, at most in what the processor had in its caches.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Tenant } from '../contracts/tenant.ts';
import { type KeyDigest, keyIdOf } from './api-key.ts';
import { type KeysFile, tenantOf } from './keys-file.ts';

interface Entry {
  readonly hash: Buffer;
  readonly tenant: Tenant | undefined;
}

/** What a key of no known id is compared with. */
const NOBODY: Entry = { hash: randomBytes(32), tenant: undefined };

export class KeyRing {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #digest: KeyDigest;

  constructor(file: KeysFile, digest: KeyDigest) {
    this.#digest = digest;
    this.#entries = new Map(
      file.keys.map((entry) => {
        const hash = Buffer.from(entry.sha256, 'hex');
        return [entry.id, { hash, tenant: tenantOf(file, entry) }];
      }),
    );
  }

  /** Whose key this is. */
  find(key: string): Tenant | undefined {
    const id = keyIdOf(key);
    if (id === undefined) return undefined;
    const { hash, tenant } = this.#entries.get(id) ?? NOBODY;
    return timingSafeEqual(this.#digest(key), hash) ? tenant : undefined;
  }
}
