// Publishes an adapter. A claim takes the version's number; then come the two files, the manifest that makes them a version,
// and the aliases. An interrupted publication leaves nothing half-visible, and continues under the same id.

import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import { formatFileSize } from '../../src/common/format-bytes.ts';
import { mapBounded } from '../../src/common/map-bounded.ts';
import { readTrainingOrigin } from '../../src/contracts/training-origin.ts';
import {
  CONFIG_FILE,
  digestAdapterFiles,
  MAX_CONFIG_BYTES,
  MAX_WEIGHTS_BYTES,
  readAdapterFiles,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import { invalidAdapter, orRefusal } from '../peft/refusal.ts';
import { ifSound, readBody, serializeDocument } from '../store/documents.ts';
import { type StoreCall, StoreError } from '../store/store.ts';
import { type RepositoryParts, withPublished } from './aliases.ts';
import type { ChangeNotice } from './changes.ts';
import {
  type Content,
  describeContent,
  toClaim,
  toManifest,
  type VersionOrigin,
} from './content.ts';
import {
  type AdapterName,
  checkAlias,
  checkNewName,
  keys,
  LATEST,
  MAX_MANIFEST_BYTES,
  signManifest,
  type VersionClaim,
  type VersionManifest,
  type VersionName,
} from './manifest.ts';
import type { VersionStore } from './versions.ts';

/** How an adapter is published. */
interface PublishOptions extends VersionOrigin {
  /** Aliases that will point to this version, in addition to `latest`. */
  readonly aliases?: readonly string[];
  /** Leaves `latest` alone: only the other aliases move to the version. */
  readonly isAside?: true;
  /** Awaited between reading and moving the aliases, once per try. Rejects if the caller has lost the right to publish. */
  readonly confirm?: () => Promise<void>;
  /** Tries of one publication share this id, even across processes, and end with one version. */
  readonly publicationId?: string;
  /** Called with the bytes of the two files written so far. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Announces the publication. */
interface Announced {
  readonly notice: ChangeNotice;
}

type FolderTarget = AdapterName & { readonly directory: string };

const FILES = [CONFIG_FILE, WEIGHTS_FILE] as const;

/**
 * Publishes a local PEFT folder as the name's next version. The version exists once its manifest is written. Then `latest` and
 * the other aliases move, forward only.
 */
export async function publish(
  parts: RepositoryParts,
  name: AdapterName,
  { directory }: { readonly directory: string },
  options: PublishOptions = {},
): Promise<VersionManifest> {
  const { publicationId, aliases = [], isAside, signal, confirm } = options;
  for (const alias of aliases) checkAlias(name, alias);
  const to = { ...checkNewName(name), directory };
  const call = signal ? { signal } : {};
  const content = await describeFolder(to.directory);
  const claim = toClaim(publicationId ?? randomUUID(), content, parts.now());
  const wanted = { claim, mayExist: publicationId !== undefined };
  const { version, manifest: earlier } = await claimNumber(parts.versions, to, wanted, call);
  const notice = parts.changes.begin(to);
  const written = { ...options, notice };
  const manifest = earlier ?? (await writeVersion(parts, { ...to, version }, content, written));
  const led = isAside ? aliases : [LATEST, ...aliases];
  await leadAliases(parts, manifest, led, { ...call, notice, ...(confirm && { confirm }) });
  return manifest;
}

async function describeFolder(directory: string): Promise<Content> {
  const { configBytes, weightsBytes } = await readAdapterFiles(directory);
  const content = await describeContent(configBytes, weightsBytes);
  const training = await orRefusal(readTrainingOrigin(directory));
  return { ...content, ...(training && { training }) };
}

/** Makes a version from files that somebody has put under a number by hand. */
export async function adopt(
  parts: RepositoryParts,
  of: VersionName,
  call: StoreCall = {},
): Promise<VersionManifest> {
  checkNewName(of);
  const { documents, versions } = parts;
  const [claim, state] = await Promise.all([
    versions.readClaim(of, call),
    versions.readCommit(of, call),
  ]);
  if (state?.kind === 'manifest') return state.manifest;
  if (claim || state) {
    const message = `${of.name}@${of.version} was ${state ? 'removed' : 'claimed by a publication'}. Put the files under another number.`;
    throw new ServeError('invalid_request', message, { param: 'version' });
  }
  const read = async (file: keyof VersionManifest['files'], maxBytes: number) => {
    const object = await documents.store.get(keys.versionFile(of, file), call);
    if (!object)
      throw invalidAdapter(
        file,
        `is not in ${of.tenant}/${of.name}/${of.version}/ of the store. Copy it there first`,
      );
    const bytes = await readBody(object.body, maxBytes);
    if (!bytes) throw invalidAdapter(file, `is larger than ${formatFileSize(maxBytes)}`);
    return bytes;
  };
  const content = await describeContent(
    await read(CONFIG_FILE, MAX_CONFIG_BYTES),
    await read(WEIGHTS_FILE, MAX_WEIGHTS_BYTES),
  );
  const notice = parts.changes.begin(of);
  const manifest = await commitVersion(parts, of, content, { ...call, notice });
  await leadAliases(parts, manifest, [LATEST], { ...call, notice });
  return manifest;
}

async function writeVersion(
  parts: RepositoryParts,
  of: FolderTarget & VersionName,
  content: Content,
  { onProgress, ...options }: PublishOptions & Announced,
): Promise<VersionManifest> {
  const call = options.signal ? { signal: options.signal } : {};
  const sizes = FILES.map((file) => content.files[file].byteSize);
  const totalBytes = sizes.reduce((sum, byteSize) => sum + byteSize, 0);
  let doneBytes = 0;
  const report = (moreBytes: number) => onProgress?.(doneBytes + moreBytes, totalBytes);
  report(0);
  for (const [i, file] of FILES.entries()) {
    const source = { file: path.join(of.directory, file) };
    const target = keys.versionFile(of, file);
    await parts.documents.store.put(target, source, { onProgress: report, ...call });
    doneBytes += sizes[i]!;
    report(0);
  }
  // The files were sent from the disk in parts, and may have changed since they were read.
  const { digest } = await digestAdapterFiles(of.directory);
  if (digest !== content.digest)
    throw invalidAdapter(WEIGHTS_FILE, 'changed while it was published');
  return commitVersion(parts, of, content, options);
}

/** Writes the manifest. From then on the version exists. */
async function commitVersion(
  { versions, now, signatureKeys }: RepositoryParts,
  of: VersionName,
  content: Content,
  { notice, ...options }: PublishOptions & Announced,
): Promise<VersionManifest> {
  const call = options.signal ? { signal: options.signal } : {};
  const unsigned = toManifest(of, content, { ...options, createdMs: now() });
  const manifest = signManifest(unsigned, signatureKeys);
  const bytes = serializeDocument(manifest);
  if (bytes.length > MAX_MANIFEST_BYTES) {
    const message = `The metrics make the manifest ${formatFileSize(bytes.length)} large; the limit is ${formatFileSize(MAX_MANIFEST_BYTES)}. Publish fewer of them.`;
    throw new ServeError('invalid_request', message, { param: 'metrics' });
  }
  await notice.intend(call);
  const state = await versions.commit(manifest, call);
  if (state.kind === 'manifest') return state.manifest;
  const message = 'This publication was abandoned as unfinished. Publish again.';
  throw new ServeError('invalid_request', message);
}

/** Points the aliases to the version. Resolves when readers see it. */
async function leadAliases(
  { versions, aliases: store }: RepositoryParts,
  manifest: VersionManifest,
  aliases: readonly string[],
  { confirm, notice, ...call }: StoreCall & Pick<PublishOptions, 'confirm'> & Announced,
): Promise<void> {
  await notice.intend(call); // not between the confirmation and the write
  const written = await store.change(
    manifest,
    async (now) => {
      await confirm?.();
      const next = withPublished(now, aliases, manifest.version);
      // The version may have been removed meanwhile.
      return next === now || (await versions.manifest(manifest, call)) ? next : now;
    },
    { ...call, notice },
  );
  if (written.revision === 0) return;
  const seen = await store.read(manifest, call);
  if (seen && seen.aliases.revision >= written.revision) return;
  throw new ServeError(
    'adapter_unavailable',
    'The adapter store confirmed a write, but does not have it. Check the store: it must support conditional writes (If-Match, If-None-Match).',
    {
      cause: new StoreError('invalid', 'the store lost a conditional write'),
    },
  );
}

// Assigns version numbers: the first publication to write a claim owns the number. A retried publication finds its number
// again, even from another process.

/** The publication's number, and the manifest if the publication was finished before. */
interface Claimed {
  readonly version: number;
  readonly manifest?: VersionManifest;
}

/** More than will ever publish one name at a time. */
const MAX_PUBLISHERS = 200;

/** Claims the next number. A publication with an id (`mayExist`) may already own one, which is returned then. */
async function claimNumber(
  versions: VersionStore,
  of: AdapterName,
  { claim, mayExist }: { readonly claim: VersionClaim; readonly mayExist: boolean },
  call?: StoreCall,
): Promise<Claimed> {
  const numbers = await versions.takenNumbers(of, call);
  const earlier = mayExist && (await findClaimed(versions, { ...of, numbers }, claim, call));
  if (earlier) return earlier;
  // Numbers have no gaps, so two processes with the same publication meet at the same claim.
  const last = numbers.at(-1) ?? 0;
  for (let version = last + 1; version <= last + MAX_PUBLISHERS; version++) {
    const winner = await ifSound(versions.createClaim({ ...of, version }, claim, call));
    if (winner === claim) return { version };
    if (winner?.publication_id !== claim.publication_id) continue;
    const claimed = await stateOf(versions, { ...of, version }, [winner, claim], call);
    if (claimed) return claimed;
  }
  throw new ServeError('overloaded', 'Too many publications of this name. Try again.');
}

/** Finds the lowest of these numbers that the publication owns and that was not removed. */
async function findClaimed(
  versions: VersionStore,
  { numbers, ...of }: AdapterName & { readonly numbers: readonly number[] },
  claim: VersionClaim,
  call?: StoreCall,
): Promise<Claimed | undefined> {
  const claims = await mapBounded(numbers, (version) =>
    ifSound(versions.readClaim({ ...of, version }, call)),
  );
  for (const [i, version] of numbers.entries()) {
    if (claims[i]?.publication_id !== claim.publication_id) continue;
    const claimed = await stateOf(versions, { ...of, version }, [claims[i], claim], call);
    if (claimed) return claimed;
  }
  return undefined;
}

/** Returns the state of the publication's number; undefined if it was removed. */
async function stateOf(
  versions: VersionStore,
  of: VersionName,
  [winner, claim]: readonly [VersionClaim, VersionClaim],
  call?: StoreCall,
): Promise<Claimed | undefined> {
  const { version } = of;
  const commit = await versions.readCommit(of, call);
  if (commit?.kind === 'tombstone') return undefined;
  if (winner.digest !== claim.digest) {
    const message =
      'Another adapter was published under this publication id. Use a new id for each adapter.';
    throw new ServeError('invalid_request', message, { param: 'publication_id' });
  }
  return commit ? { version, manifest: commit.manifest } : { version };
}
