// The keys of a running server: the file is looked at every second, so that a revoked key is refused soon without
// relying on file events, which network file systems lose. A faulty edit is logged, and the last good file holds.
import { stat } from 'node:fs/promises';
import { FileError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { Tenant } from '../contracts/tenant.ts';
import type { KeyDigest } from './api-key.ts';
import { KeyRing } from './key-ring.ts';
import { parseKeysFile, readKeysText } from './keys-file.ts';

/** A revoked key may be used for 5 s. */
const POLL_MS = 1000;
/** A file written twice within a tick of its clock (2 s on FAT) may look the same: until then it is read again. */
const SETTLING_MS = 2000;

export interface WatchedKeysOptions {
  readonly digest: KeyDigest;
  readonly log: Logger;
  /** Unix milliseconds. */
  readonly now?: () => number;
}

export class WatchedKeys {
  readonly #file: string;
  readonly #options: WatchedKeysOptions;
  #ring: KeyRing;
  #text: string;
  /** Of the file that was read last, once it cannot change without showing it. */
  #signature: string | undefined;
  #fault: string | undefined;
  #refreshing: Promise<void> | undefined;
  readonly #timer: NodeJS.Timeout;

  private constructor(file: string, text: string, options: WatchedKeysOptions) {
    this.#file = file;
    this.#options = options;
    this.#text = text;
    this.#ring = new KeyRing(parseKeysFile(text), options.digest);
    this.#timer = setInterval(() => void this.refresh(), POLL_MS).unref();
  }

  /** Undefined where there is no such file; rejects with `FileError` where it is faulty. */
  static async open(file: string, options: WatchedKeysOptions): Promise<WatchedKeys | undefined> {
    const text = await readKeysText(file);
    return text === undefined ? undefined : new WatchedKeys(file, text, options);
  }

  find(key: string): Tenant | undefined {
    return this.#ring.find(key);
  }

  /** Looks whether the file has changed, and takes it over. Never rejects. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #refresh(): Promise<void> {
    try {
      const { now = Date.now } = this.#options;
      const { ino, size, mtimeMs, ctimeMs } = await stat(this.#file);
      const signature = [ino, size, mtimeMs, ctimeMs].join();
      if (signature === this.#signature) return;
      const text = await readKeysText(this.#file);
      if (text === undefined) throw new FileError('keys file', 'is gone');
      if (text !== this.#text) this.#takeOver(text);
      this.#signature = now() - Math.max(mtimeMs, ctimeMs) > SETTLING_MS ? signature : undefined;
      this.#fault = undefined;
    } catch (error) {
      const fault = (error as Error).message;
      if (fault !== this.#fault) {
        this.#options.log.error({ reason: fault }, 'the keys file is faulty: its last state holds');
      }
      this.#fault = fault;
    }
  }

  #takeOver(text: string): void {
    const file = parseKeysFile(text);
    this.#ring = new KeyRing(file, this.#options.digest);
    this.#text = text;
    this.#options.log.info({ keys: file.keys.length }, 'keys file read');
  }
}
