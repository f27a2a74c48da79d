// Who takes a version's number: whoever writes its claim first. A publication that has an id finds the number that it
// took before, be it by another process.
import { ServeError } from '../../src/common/errors.ts';
import { type StoreCall, StoreError } from '../store/store.ts';
import { mapBounded } from './bounded.ts';
import { type DocumentStore, ifSound, serializeDocument } from './documents.ts';
import { CLAIM_FILE, type Claim, keys, type VersionManifest } from './manifest.ts';
import type { AdapterName } from './options.ts';
import type { Pause } from './pause.ts';
import { readClaim, readCommit, takenNumbers, type VersionName } from './versions.ts';

export interface ClaimParts {
  readonly documents: DocumentStore;
  readonly pause: Pause;
}

/** A number that is the publication's own; with a manifest where it had been finished before. */
export interface Claimed {
  readonly version: number;
  readonly manifest?: VersionManifest;
}

/** More than will ever publish one name at the same time. */
const MAX_TRIES = 200;

/** For a publication that nobody else knows of: a new number. */
export async function claimNumber(
  parts: ClaimParts,
  of: AdapterName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  const taken = await takenNumbers(parts.documents, of, call);
  return claimAfter(parts, { ...of, version: taken.at(-1) ?? 0 }, claim, call);
}

/** For a publication that may have been begun before: the number that it has, or a new one. */
export async function claimOnce(
  parts: ClaimParts,
  of: AdapterName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  const { documents } = parts;
  const taken = await takenNumbers(documents, of, call);
  const earlier = await findClaimed(documents, { ...of, numbers: taken }, claim, call);
  // Numbers are tried without a gap: a process that claims for the same publication meanwhile is met on the way.
  return earlier ?? claimAfter(parts, { ...of, version: taken.at(-1) ?? 0 }, claim, call);
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

/** The first number after this one that nobody has. */
async function claimAfter(
  { documents, pause }: ClaimParts,
  of: VersionName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  let version = of.version + 1;
  for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
    const outcome = await tryClaim(documents, { ...of, version }, claim, call);
    if (outcome === 'taken') version++;
    else if (outcome === 'unclear') await pause(attempt, call?.signal);
    else return outcome;
  }
  throw new ServeError('overloaded', 'Too many others publish under this name at this moment.');
}

/** `unclear`: somebody is about to write it. */
async function tryClaim(
  documents: DocumentStore,
  of: VersionName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed | 'taken' | 'unclear'> {
  try {
    const bytes = serializeDocument(claim);
    await documents.store.put(keys.versionFile(of, CLAIM_FILE), bytes, { ifAbsent: true, ...call });
    return { version: of.version };
  } catch (error) {
    if (!isUncertain(error)) throw error;
    // The store may have done it and failed to say so, or have done it twice.
    const found = await ifSound(readClaim(documents, of, call));
    if (found?.publication_id === claim.publication_id) {
      return (await stateOf(documents, of, [found, claim], call)) ?? 'taken';
    }
    if (found) return 'taken';
    if (error.kind === 'unavailable') throw error;
    return 'unclear';
  }
}

/** Whether a conditional write that failed may have been done. */
export function isUncertain(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.kind === 'conflict' || error.kind === 'unavailable');
}
