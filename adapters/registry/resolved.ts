// Resolved models: the base, or adapters by owner, version and content. The registry, the tiers and HTTP share these plain
// types. Also computes the identity by which the engine recognizes an adapter.
import { createHash } from 'node:crypto';
import type { VersionManifest } from '../repository/manifest.ts';

/** The base or an adapter. */
export type ResolvedModel = { readonly kind: 'base'; readonly id: string } | ResolvedAdapter;

/** An adapter or a composition that the tenant may use. */
export interface ResolvedAdapter {
  readonly kind: 'adapter';
  /** The name in the request. */
  readonly id: string;
  /** Digest of its content, for the adapter-use headers (`contentDigest`). */
  readonly digest: string;
  /** One part, or the terms of a composition in their order. */
  readonly parts: readonly AdapterPart[];
}

/** One adapter of a composition. */
export interface AdapterPart {
  /** The tenant, or `SHARED_OWNER`. */
  readonly owner: string;
  readonly name: string;
  /** Digest of the two files, hex. */
  readonly digest: string;
  /** Multiplies its update. 1 for a single adapter. */
  readonly weight: number;
  readonly location: AdapterLocation;
}

/** The location of an adapter's files. */
export type AdapterLocation =
  /**
   * A local PEFT folder. `rank` is the largest of its modules; `vocabSize` is the number of tokens in its tables, if it has
   * any.
   */
  | {
      readonly kind: 'folder';
      readonly directory: string;
      readonly rank: number;
      readonly vocabSize?: number | undefined;
    }
  /** A published version, and the alias that led to it, if any. */
  | { readonly kind: 'version'; readonly manifest: VersionManifest; readonly alias?: string };

/** Identifies parts in caches and slots by owner and content, so tenants never share an entry. */
export function adapterIdentity(
  parts: readonly Pick<AdapterPart, 'owner' | 'digest' | 'weight'>[],
): string {
  const hash = createHash('sha256');
  for (const { owner, digest, weight } of parts) hash.update(`${owner}\0${digest}\0${weight}\n`);
  return hash.digest('hex');
}

/** Returns the largest rank of the part's modules, from its manifest or header. */
export function rankOfPart({ location }: Pick<AdapterPart, 'location'>): number {
  return location.kind === 'folder' ? location.rank : location.manifest.rank;
}

/** Returns the number of tokens in the part's vocabulary tables. Undefined: it has none. */
export function vocabSizeOfPart({ location }: Pick<AdapterPart, 'location'>): number | undefined {
  return location.kind === 'folder' ? location.vocabSize : location.manifest.vocab_size;
}

/** Returns the digest for responses: a single part's own digest, or one over all parts and weights. */
export function contentDigest(parts: readonly AdapterPart[]): string {
  const [only] = parts;
  if (parts.length === 1 && only!.weight === 1) return only!.digest;
  const hash = createHash('sha256');
  for (const { digest, weight } of parts) hash.update(`${digest}\0${weight}\n`);
  return hash.digest('hex');
}

/**
 * Returns the model name that leads to the same weights even if aliases move: `zen@3`, `zen@3+0.5*tone@1`. A folder has no
 * versions, so its name is not pinned.
 */
export function pinnedName(parts: readonly AdapterPart[]): string {
  return parts
    .map(({ name, weight, location }) => {
      const version = location.kind === 'version' ? `@${location.manifest.version}` : '';
      return `${weight === 1 ? '' : `${weight}*`}${name}${version}`;
    })
    .join('+');
}
