// A running server's keys, in memory. Checks the keys file every second, so that a revoked key is refused soon. File events
// would not do, because network file systems lose them.
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { FileError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { type Clock, every } from '../common/waiting.ts';
import type { Tenant } from '../contracts/tenant.ts';
import { type KeyDigest, keyIdOf } from './api-key.ts';
import {
  type KeyedTenant,
  type KeysFile,
  keyedTenants,
  parseKeysFile,
  readKeysText,
  tenantOf,
} from './keys-file.ts';

interface KnownKey {
  readonly hash: Buffer;
  readonly tenant: Tenant | undefined;
}

/** An unknown key is compared with this one, so that refusing it takes as long as refusing any other. */
const NOBODY: KnownKey = { hash: randomBytes(32), tenant: undefined };

/** Finds the tenant of a key. The time that a refusal takes reveals nothing about valid keys. */
export class KeyRing {
  readonly #keys: ReadonlyMap<string, KnownKey>;
  readonly #file: KeysFile;
  readonly #digest: KeyDigest;

  constructor(file: KeysFile, digest: KeyDigest) {
    this.#file = file;
    this.#digest = digest;
    this.#keys = new Map(
      file.keys.map((entry) => {
        const hash = Buffer.from(entry.sha256, 'hex');
        return [entry.id, { hash, tenant: tenantOf(file, entry) }];
      }),
    );
  }

  /** Returns the key's tenant. Undefined for an unknown key. */
  find(key: string): Tenant | undefined {
    const id = keyIdOf(key);
    if (id === undefined) return undefined;
    const { hash, tenant } = this.#keys.get(id) ?? NOBODY;
    return timingSafeEqual(this.#digest(key), hash) ? tenant : undefined;
  }

  /** Returns a tenant with its settings in the file, or with the defaults. */
  named(id: string): Tenant {
    return tenantOf(this.#file, { tenant: id, admin: false });
  }

  /** Returns a tenant, without admin rights. Undefined if it has no key. */
  tenant(id: string): Tenant | undefined {
    return this.#file.keys.some(({ tenant }) => tenant === id) ? this.named(id) : undefined;
  }

  /** Returns all tenants with their keys. */
  list(): KeyedTenant[] {
    return keyedTenants(this.#file);
  }

  /** Has nothing to close: nothing is watched. */
  close(): void {}
}

/** A revoked key is refused within 2 s: after the next poll, and the time that reading the file takes. */
const POLL_MS = 1000;
/** A file that is written twice within a tick of its clock (2 s on FAT) may look unchanged, so a recent file is read again. */
const SETTLING_MS = 2000;

/** How a keys file is watched. */
export interface WatchedKeysOptions {
  readonly digest: KeyDigest;
  readonly log: Logger;
  /** Returns Unix milliseconds. */
  readonly now?: () => number;
  readonly clock?: Clock;
}

/** The keys of a file that may change. After a faulty edit the last valid state stays in force. */
export class WatchedKeys {
  readonly #file: string;
  readonly #options: WatchedKeysOptions;
  #ring: KeyRing;
  #text: string;
  /** Identifies the state of the file that was last read. Undefined while the file is too recent to tell. */
  #signature: string | undefined;
  #fault: string | undefined;
  #refreshing: Promise<void> | undefined;
  readonly #stop: () => void;

  private constructor(file: string, text: string, options: WatchedKeysOptions) {
    this.#file = file;
    this.#options = options;
    this.#text = text;
    this.#ring = new KeyRing(parseKeysFile(text), options.digest);
    this.#stop = every(POLL_MS, () => void this.refresh(), options.clock);
  }

  /** Opens a keys file. Resolves with undefined if there is no such file. Rejects with `FileError` if it is invalid. */
  static async open(file: string, options: WatchedKeysOptions): Promise<WatchedKeys | undefined> {
    const text = await readKeysText(file);
    return text === undefined ? undefined : new WatchedKeys(file, text, options);
  }

  /** Returns the key's tenant. Undefined for an unknown key. */
  find(key: string): Tenant | undefined {
    return this.#ring.find(key);
  }

  /** Returns a tenant as `KeyRing.named` does. */
  named(id: string): Tenant {
    return this.#ring.named(id);
  }

  /** Returns a tenant, without admin rights. Undefined if it has no key. */
  tenant(id: string): Tenant | undefined {
    return this.#ring.tenant(id);
  }

  /** Returns all tenants with their keys. */
  list(): KeyedTenant[] {
    return this.#ring.list();
  }

  /** Reads the file again if it has changed. Never rejects. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Stops watching. */
  close(): void {
    this.#stop();
  }

  async #refresh(): Promise<void> {
    try {
      const { now = Date.now } = this.#options;
      const { ino, size, mtimeMs, ctimeMs } = await stat(this.#file);
      const signature = [ino, size, mtimeMs, ctimeMs].join();
      if (signature === this.#signature) return;
      const text = await readKeysText(this.#file);
      if (text === undefined) throw new FileError('keys file', 'was deleted');
      if (text !== this.#text) this.#replace(text);
      this.#signature = now() - Math.max(mtimeMs, ctimeMs) > SETTLING_MS ? signature : undefined;
      this.#fault = undefined;
    } catch (error) {
      const fault = (error as Error).message;
      if (fault !== this.#fault) {
        this.#options.log.error(
          { reason: fault },
          'the keys file is faulty; its last good state stays in force',
        );
      }
      this.#fault = fault;
    }
  }

  #replace(text: string): void {
    const file = parseKeysFile(text);
    this.#ring = new KeyRing(file, this.#options.digest);
    this.#text = text;
    this.#options.log.info({ keys: file.keys.length }, 'keys file read');
  }
}
