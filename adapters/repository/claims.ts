// Who takes a version's number: whoever writes its claim first. A publication that has an id finds the number that it
// took before, be it by another process.
import { ServeError } from '../../src/common/errors.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { type DocumentStore, ifSound } from '../store/documents.ts';
import type { StoreCall } from '../store/store.ts';
import type { Claim, VersionManifest } from './manifest.ts';
import type { AdapterName } from './options.ts';
import { createClaim, readClaim, readCommit, takenNumbers, type VersionName } from './versions.ts';

/** A number that is the publication's own; with a manifest where it had been finished before. */
export interface Claimed {
  readonly version: number;
  readonly manifest?: VersionManifest;
}

/** More than will ever publish one name at the same time. */
const MAX_TRIES = 200;

/** For a publication that nobody else knows of: a new number. */
export async function claimNumber(
  documents: DocumentStore,
  of: AdapterName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  const taken = await takenNumbers(documents, of, call);
  return claimAfter(documents, { ...of, version: taken.at(-1) ?? 0 }, claim, call);
}

/** For a publication that may have been begun before: the number that it has, or a new one. */
export async function claimOnce(
  documents: DocumentStore,
  of: AdapterName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  const taken = await takenNumbers(documents, of, call);
  const earlier = await findClaimed(documents, { ...of, numbers: taken }, claim, call);
  // Numbers are tried without a gap: a process that claims for the same publication meanwhile is met on the way.
  return earlier ?? claimAfter(documents, { ...of, version: taken.at(-1) ?? 0 }, claim, call);
}

/** The lowest of these numbers that the publication has claimed and that was not removed since. */
async function findClaimed(
  documents: DocumentStore,
  { numbers, ...of }: AdapterName & { readonly numbers: readonly number[] },
  claim: Claim,
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

/** The number's state where its claim is this publication's; undefined where it was removed since. */
async function stateOf(
  documents: DocumentStore,
  of: VersionName,
  [found, claim]: readonly [Claim, Claim],
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

/** Claims the first number after this one that nobody has. */
async function claimAfter(
  documents: DocumentStore,
  of: VersionName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  for (let version = of.version + 1; version <= of.version + MAX_TRIES; version++) {
    const found = await ifSound(createClaim(documents, { ...of, version }, claim, call));
    if (found === claim) return { version };
    if (found?.publication_id !== claim.publication_id) continue;
    const claimed = await stateOf(documents, { ...of, version }, [found, claim], call);
    if (claimed) return claimed;
  }
  throw new ServeError('overloaded', 'Too many others publish under this name. Try again.');
}
