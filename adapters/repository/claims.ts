// Who takes a version's number: whoever writes its claim first. A publication that has an id finds the number that it
// took before, and of two processes that publish under one id the one with the lower number goes on for both.
import { ServeError } from '../../src/errors.ts';
import { CLAIM_FILE, type Claim, keys, type VersionManifest } from '../manifest.ts';
import { type StoreCall, StoreError } from '../store/store.ts';
import { mapBounded } from './bounded.ts';
import { type DocumentStore, ifSound, serializeDocument } from './documents.ts';
import type { AdapterName } from './options.ts';
import type { Pause } from './pause.ts';
import {
  readClaim,
  readCommit,
  takenNumbers,
  type VersionName,
  writeTombstone,
} from './versions.ts';

export interface ClaimParts {
  readonly documents: DocumentStore;
  readonly pause: Pause;
  /** Unix milliseconds. */
  readonly now: () => number;
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
  return { version: await claimAfter(parts, { ...of, version: taken.at(-1) ?? 0 }, claim, call) };
}

/** For a publication that may have been begun before: the number that it has, or a new one. */
export async function claimOnce(
  parts: ClaimParts,
  of: AdapterName,
  claim: Claim,
  call?: StoreCall,
): Promise<Claimed> {
  const { documents, now } = parts;
  const known = await takenNumbers(documents, of, call);
  const earlier = await findClaimed(documents, { ...of, numbers: known }, claim, call);
  if (earlier) return earlier;
  const version = await claimAfter(parts, { ...of, version: known.at(-1) ?? 0 }, claim, call);
  // Whoever looks after it has claimed sees all that claimed before: of two, at least one sees the other.
  const since = (await takenNumbers(documents, of, call)).filter(
    (number) => number < version && !known.includes(number),
  );
  const rival = await findClaimed(documents, { ...of, numbers: since }, claim, call);
  if (!rival) return { version };
  const options = { nowMs: now(), isManifestKept: true, ...call };
  await writeTombstone(documents, { ...of, version }, options);
  return rival;
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
    const found = claims[i];
    if (found?.publication_id !== claim.publication_id) continue;
    const commit = await readCommit(documents, { ...of, version }, call);
    if (commit?.kind === 'tombstone') continue;
    refuseOtherContent(found, claim);
    return commit ? { version, manifest: commit.manifest } : { version };
  }
  return undefined;
}

/** The first number after this one that nobody has. */
async function claimAfter(
  { documents, pause }: ClaimParts,
  of: VersionName,
  claim: Claim,
  call?: StoreCall,
): Promise<number> {
  let version = of.version + 1;
  for (let attempt = 1; attempt <= MAX_TRIES; attempt++) {
    const outcome = await tryClaim(documents, { ...of, version }, claim, call);
    if (outcome === 'ours') return version;
    if (outcome === 'taken') version++;
    else await pause(attempt, call?.signal);
  }
  throw new ServeError('overloaded', 'Too many others publish under this name at this moment.');
}

/** `unclear`: somebody is about to write it. */
async function tryClaim(
  documents: DocumentStore,
  of: VersionName,
  claim: Claim,
  call?: StoreCall,
): Promise<'ours' | 'taken' | 'unclear'> {
  try {
    const bytes = serializeDocument(claim);
    await documents.store.put(keys.versionFile(of, CLAIM_FILE), bytes, { ifAbsent: true, ...call });
    return 'ours';
  } catch (error) {
    if (!isUncertain(error)) throw error;
    // The store may have done it and failed to say so, or have done it twice.
    const found = await readClaim(documents, of, call);
    if (!found && error.kind === 'unavailable') throw error;
    if (!found) return 'unclear';
    if (found.publication_id !== claim.publication_id) return 'taken';
    refuseOtherContent(found, claim);
    return 'ours';
  }
}

/** Whether a conditional write that failed may have been done. */
export function isUncertain(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.kind === 'conflict' || error.kind === 'unavailable');
}

function refuseOtherContent(found: Claim, claim: Claim): void {
  if (found.digest === claim.digest) return;
  const message = 'Another adapter was published under this publication id.';
  throw new ServeError('invalid_request', message, { param: 'publication_id' });
}
