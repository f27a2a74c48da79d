// What the calls of a repository take and answer, for its parts and its callers.
import type { GenerationConfig } from '../../src/contracts/generation-config.ts';

/** Whose adapter, and what it is called. */
export interface AdapterName {
  readonly tenant: string;
  readonly name: string;
}

export interface AliasName extends AdapterName {
  readonly alias: string;
}

export interface PublishOptions {
  /** Of the base's artifact that it was made for; absent: unknown. */
  readonly baseDigest?: string;
  /** The job that made it. */
  readonly job?: string;
  /** Whatever was measured. */
  readonly metrics?: Readonly<Record<string, unknown>>;
  /** The adapter's own sampling defaults. */
  readonly generationConfig?: GenerationConfig;
  /** Beside `latest`, led to this version. */
  readonly aliases?: readonly string[];
  /** `latest` stays where it is: the version is reached by its other aliases. */
  readonly isAside?: true;
  /**
   * Awaited between reading what aliases are and moving them, maybe more than once: whoever has lost the right to
   * publish rejects. What another has written since makes the move read, and ask, again.
   */
  readonly confirm?: () => Promise<void>;
  /** A publication that is tried again under the same one, also by another process, ends with one version. */
  readonly publicationId?: string;
  /** Of the two files, as they are written. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface GarbageOptions {
  /** Unix milliseconds. */
  readonly now: number;
  /** What is younger stays. */
  readonly graceMs: number;
  readonly signal?: AbortSignal;
}

export interface Garbage {
  /** Publications that were never finished. */
  readonly unfinished: number;
  /** Removed versions whose files went. */
  readonly removed: number;
  readonly bytes: number;
}
