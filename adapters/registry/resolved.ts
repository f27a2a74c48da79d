// What a model's name stands for once it is resolved and allowed: the base, or adapters by owner, version and content.
// Plain types, shared by registries, tiers and the HTTP side; and the identity by which the engine knows an adapter.
import { createHash } from 'node:crypto';
import type { VersionManifest } from '../repository/manifest.ts';

export type ResolvedModel = { readonly kind: 'base'; readonly id: string } | ResolvedAdapter;

export interface ResolvedAdapter {
  readonly kind: 'adapter';
  /** The name it was asked for by. */
  readonly id: string;
  /** Of its content, for receipts: its only part's digest, or one over all parts and their weights. */
  readonly digest: string;
  /** One, or the terms of a composition in the order they were written. */
  readonly parts: readonly AdapterPart[];
}

export interface AdapterPart {
  /** Whose it is: the tenant that asked, or `SHARED_OWNER`. */
  readonly owner: string;
  readonly name: string;
  /** Of the two files, hex. */
  readonly digest: string;
  /** Multiplies its update; 1 where it stands alone. */
  readonly weight: number;
  readonly place: AdapterPlace;
}

export type AdapterPlace =
  /** A local PEFT folder that somebody else keeps; `rank` is the largest of its modules. */
  | { readonly kind: 'folder'; readonly directory: string; readonly rank: number }
  /** A published version; `alias` by which it was found, if by one. */
  | { readonly kind: 'version'; readonly manifest: VersionManifest; readonly alias?: string };

/** The identity of parts in caches and slots: owners and contents, so that no two tenants share an entry. */
export function adapterIdentity(parts: readonly AdapterPart[]): string {
  const hash = createHash('sha256');
  for (const { owner, digest, weight } of parts) hash.update(`${owner}\0${digest}\0${weight}\n`);
  return hash.digest('hex');
}

/** The largest rank of the part's modules, as far as it is known before its files are here. */
export function rankOf({ place }: Pick<AdapterPart, 'place'>): number {
  return place.kind === 'folder' ? place.rank : place.manifest.rank;
}

/** The digest that a receipt shows. */
export function contentDigest(parts: readonly AdapterPart[]): string {
  const [only] = parts;
  if (parts.length === 1 && only!.weight === 1) return only!.digest;
  const hash = createHash('sha256');
  for (const { digest, weight } of parts) hash.update(`${digest}\0${weight}\n`);
  return hash.digest('hex');
}

/**
 * The model name that leads to these very weights again, whatever aliases do: `zen@3`, `zen@3+0.5*tone@1`.
 * A folder has no versions: its name is all there is.
 */
export function pinnedName(parts: readonly AdapterPart[]): string {
  return parts
    .map(({ name, weight, place }) => {
      const version = place.kind === 'version' ? `@${place.manifest.version}` : '';
      return `${weight === 1 ? '' : `${weight}*`}${name}${version}`;
    })
    .join('+');
}
