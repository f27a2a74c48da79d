// Assigns version numbers: the first publication that writes a claim owns the number. A publication that is tried again,
// also by another process, finds the number that it already has.
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { type DocumentStore, ifSound } from '../store/documents.ts';
import type { StoreCall } from '../store/store.ts';
import type { AdapterName, VersionClaim, VersionManifest, VersionName } from './manifest.ts';
import { createClaim, readClaim, readCommit, takenNumbers } from './versions.ts';

/** The publication's number, and the manifest if the publication was finished before. */
export interface Claimed {
  readonly version: number;
  readonly manifest?: VersionManifest;
}

/** More than will ever publish one name at the same time. */
const MAX_PUBLISHERS = 200;

/**
 * Claims the next number. If the publication `mayExist`, because it has an id, returns the number that it already has.
 */
export async function claimNumber(
  documents: DocumentStore,
  of: AdapterName,
  { claim, mayExist }: { readonly claim: VersionClaim; readonly mayExist: boolean },
  call?: StoreCall,
): Promise<Claimed> {
  const numbers = await takenNumbers(documents, of, call);
  const earlier = mayExist && (await findClaimed(documents, { ...of, numbers }, claim, call));
  if (earlier) return earlier;
  // Numbers are tried without gaps, so two processes with the same publication meet at the same claim.
  const last = numbers.at(-1) ?? 0;
  for (let version = last + 1; version <= last + MAX_PUBLISHERS; version++) {
    const found = await ifSound(createClaim(documents, { ...of, version }, claim, call));
    if (found === claim) return { version };
    if (found?.publication_id !== claim.publication_id) continue;
    const claimed = await stateOf(documents, { ...of, version }, [found, claim], call);
    if (claimed) return claimed;
  }
  throw new ServeError('overloaded', 'Too many others publish under this name. Try again.');
}

/** Finds the lowest of these numbers that the publication owns and that has not been removed. */
async function findClaimed(
  documents: DocumentStore,
  { numbers, ...of }: AdapterName & { readonly numbers: readonly number[] },
  claim: VersionClaim,
  call?: StoreCall,
): Promise<Claimed | undefined> {
  const claims = await mapBounded(numbers, (version) =>
    ifSound(readClaim(documents, { ...of, version }, call)),
  );
  for (const [i, version] of numbers.entries()) {
    if (claims[i]?.publication_id !== claim.publication_id) continue;
    const claimed = await stateOf(documents, { ...of, version }, [claims[i], claim], call);
    if (claimed) return claimed;
  }
  return undefined;
}

/** Returns the state of the publication's number; undefined if it has been removed. */
async function stateOf(
  documents: DocumentStore,
  of: VersionName,
  [found, claim]: readonly [VersionClaim, VersionClaim],
  call?: StoreCall,
): Promise<Claimed | undefined> {
  const { version } = of;
  const commit = await readCommit(documents, of, call);
  if (commit?.kind === 'tombstone') return undefined;
  if (found.digest !== claim.digest) {
    const message = 'Another adapter was published under this publication id.';
    throw new ServeError('invalid_request', message, { param: 'publication_id' });
  }
  return commit ? { version, manifest: commit.manifest } : { version };
}
