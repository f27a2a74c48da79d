// From a resolved adapter to files on the local disk that the engine process can read, held while they are read.
// It authorizes nobody: a resolved adapter is one that its asker may use.
import type { AdapterSource, AdapterSourcePart } from '../../src/adapter-source.ts';
import { ServeError } from '../../src/errors.ts';
import { type AdapterPart, adapterIdentity, type ResolvedAdapter } from '../resolved.ts';

export interface LocalAdapters {
  /**
   * All parts as local files, verified; those of a store are fetched once however many ask. Rejects with `ServeError`
   * (`adapter_unavailable`, `adapter_checksum_mismatch`, `overloaded`) or with the signal's reason: an abort ends
   * this wait only.
   */
  acquire(adapter: ResolvedAdapter, options?: { signal?: AbortSignal }): Promise<LocalLease>;
  stats(): LocalAdaptersStats;
  /** Ends every fetch. */
  close(): void;
}

/** Keeps the files where they are until it is released; releasing twice is harmless. */
export interface LocalLease extends Disposable {
  readonly source: AdapterSource;
  /** `store` where a part had to be fetched. */
  readonly tier: 'disk' | 'store';
  readonly loadMs: number;
  /** To be called once the engine has accepted or refused every sequence that names the source. */
  release(): void;
  /** The engine found other content than it was told: the files are read again before the next lease. */
  distrust(): void;
}

export interface LocalAdaptersStats {
  /** Of published adapters on the disk. */
  readonly diskBytes: number;
  readonly diskCount: number;
  readonly fetching: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  /** Fetches that ended, by how. */
  readonly fetched: number;
  readonly failed: number;
}

/** Local folders only: published versions are `adapter_unavailable`. */
export function createLocalAdapters(): LocalAdapters {
  return {
    async acquire({ parts }, { signal } = {}) {
      signal?.throwIfAborted();
      return {
        source: {
          digest: adapterIdentity(parts),
          owner: parts[0]!.owner,
          parts: parts.map(folderPart),
        },
        tier: 'disk',
        loadMs: 0,
        release() {},
        distrust() {},
        [Symbol.dispose]() {},
      };
    },
    stats: () => ({
      diskBytes: 0,
      diskCount: 0,
      fetching: 0,
      hits: 0,
      misses: 0,
      evictions: 0,
      fetched: 0,
      failed: 0,
    }),
    close() {},
  };
}

function folderPart({ digest, weight, place }: AdapterPart): AdapterSourcePart {
  if (place.kind === 'folder') return { digest, directory: place.directory, weight };
  throw new ServeError('adapter_unavailable', 'adapter unavailable: there is no store');
}
