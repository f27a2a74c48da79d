// Published adapters as the API shows them. Pure.
import {
  type Aliases,
  type AliasPointer,
  pointerOf,
  type VersionManifest,
} from '../../adapters/repository/manifest.ts';
import { readCard } from '../contracts/evaluation-card.ts';
import type { Adapter } from '../contracts/management-api.ts';

export interface PublishedName {
  readonly owner: string;
  readonly name: string;
  readonly isWritable: boolean;
  readonly aliases: Pick<Aliases, 'aliases' | 'previous'>;
  /** Ascending. */
  readonly versions: readonly VersionManifest[];
}

/** @param baseDigest of the base that is served */
export function toAdapter(
  { owner, name, isWritable, aliases, versions }: PublishedName,
  baseDigest: string,
): Adapter {
  return {
    id: `${owner}/${name}`,
    object: 'adapter',
    name,
    owner,
    is_writable: isWritable,
    aliases: Object.entries(aliases.aliases).map(([alias, pointer]) => {
      const previous = pointerOf(aliases.previous, alias);
      return { alias, leads_to: toShares(pointer), previous: previous ? toShares(previous) : null };
    }),
    versions: versions
      .toReversed()
      .map((manifest) => toVersion(manifest, { baseDigest, isWritable })),
  };
}

/** The job of a shared version is its maker's own affair. */
function toVersion(
  manifest: VersionManifest,
  { baseDigest, isWritable }: { baseDigest: string; isWritable: boolean },
): Adapter['versions'][number] {
  const { version, created_at, digest, rank, targets, files, base_digest, job, metrics } = manifest;
  return {
    version,
    created_at,
    digest,
    rank,
    targets,
    bytes: Object.values(files).reduce((sum, { byteSize }) => sum + byteSize, 0),
    base: base_digest === undefined ? 'unknown' : base_digest === baseDigest ? 'served' : 'other',
    job: (isWritable && job) || null,
    evaluation: readCard(metrics?.['evaluation']) ?? null,
  };
}

function toShares(pointer: AliasPointer) {
  return 'version' in pointer
    ? [{ version: pointer.version, percent: 100 }]
    : pointer.split.map(({ version, percent }) => ({ version, percent }));
}
