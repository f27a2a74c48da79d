// One publication: a claim takes the version's number, the files follow, the manifest makes them a version, the aliases
// lead to it. Ended anywhere, it leaves nothing that a reader sees half; begun again under the same id, it goes on.
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { ServeError } from '../../src/common/errors.ts';
import {
  CONFIG_FILE,
  digestAdapterFiles,
  MAX_CONFIG_BYTES,
  MAX_WEIGHTS_BYTES,
  readAdapterFiles,
  WEIGHTS_FILE,
} from '../peft/files.ts';
import { invalidAdapter } from '../peft/refusal.ts';
import { type DocumentStore, readBody, serializeDocument } from '../store/documents.ts';
import { type StoreCall, StoreError } from '../store/store.ts';
import { withPublished } from './alias-changes.ts';
import { claimNumber, claimOnce } from './claims.ts';
import { type Content, describeContent, toClaim, toManifest } from './content.ts';
import { keys, LATEST, MAX_MANIFEST_BYTES, type VersionManifest } from './manifest.ts';
import type { AdapterName, PublishOptions } from './options.ts';
import type { AliasPointers } from './pointers.ts';
import { commit, readClaim, readCommit, readManifest, type VersionName } from './versions.ts';

export interface PublishParts {
  readonly documents: DocumentStore;
  readonly pointers: AliasPointers;
  /** Unix milliseconds. */
  readonly now: () => number;
}

interface FolderTarget extends AdapterName {
  readonly directory: string;
}

const FILES = [CONFIG_FILE, WEIGHTS_FILE] as const;

export async function publishFolder(
  parts: PublishParts,
  to: FolderTarget,
  options: PublishOptions,
): Promise<VersionManifest> {
  const { publicationId, aliases = [], isAside, signal, confirm } = options;
  const call = signal ? { signal } : {};
  const content = await describeFolder(to.directory);
  const claim = toClaim(publicationId ?? randomUUID(), content, parts.now());
  const take = publicationId === undefined ? claimNumber : claimOnce;
  const { version, manifest: earlier } = await take(parts.documents, to, claim, call);
  const manifest = earlier ?? (await writeVersion(parts, { ...to, version }, content, options));
  const led = isAside ? aliases : [LATEST, ...aliases];
  await leadAliases(parts, manifest, led, { ...call, ...(confirm && { confirm }) });
  return manifest;
}

async function describeFolder(directory: string): Promise<Content> {
  const { configBytes, weightsBytes } = await readAdapterFiles(directory);
  return describeContent(configBytes, weightsBytes);
}

/** Makes a version of files that were put under a number by hand. */
export async function adoptFolder(
  parts: PublishParts,
  of: VersionName,
  call: StoreCall,
): Promise<VersionManifest> {
  const { documents } = parts;
  const [claim, state] = await Promise.all([
    readClaim(documents, of, call),
    readCommit(documents, of, call),
  ]);
  if (state?.kind === 'manifest') return state.manifest;
  if (claim || state) {
    const message = `${of.name}@${of.version} was ${state ? 'removed' : 'begun by a publication'}: put the files under another number.`;
    throw new ServeError('invalid_request', message, { param: 'version' });
  }
  const read = async (file: keyof VersionManifest['files'], maxBytes: number) => {
    const object = await documents.store.get(keys.versionFile(of, file), call);
    if (!object) throw invalidAdapter(file, `is not in ${of.tenant}/${of.name}/${of.version}/`);
    const bytes = await readBody(object.body, maxBytes);
    if (!bytes) throw invalidAdapter(file, `is longer than ${maxBytes} bytes`);
    return bytes;
  };
  const content = await describeContent(
    await read(CONFIG_FILE, MAX_CONFIG_BYTES),
    await read(WEIGHTS_FILE, MAX_WEIGHTS_BYTES),
  );
  const manifest = await commitVersion(parts, of, content, call);
  await leadAliases(parts, manifest, [LATEST], call);
  return manifest;
}

async function writeVersion(
  parts: PublishParts,
  of: FolderTarget & VersionName,
  content: Content,
  { onProgress, ...options }: PublishOptions,
): Promise<VersionManifest> {
  const call = options.signal ? { signal: options.signal } : {};
  const sizes = FILES.map((file) => content.files[file].byteSize);
  const totalBytes = sizes.reduce((sum, byteSize) => sum + byteSize, 0);
  let doneBytes = 0;
  const tell = (moreBytes: number) => onProgress?.(doneBytes + moreBytes, totalBytes);
  tell(0);
  for (const [i, file] of FILES.entries()) {
    const source = { file: path.join(of.directory, file) };
    const target = keys.versionFile(of, file);
    await parts.documents.store.put(target, source, { onProgress: tell, ...call });
    doneBytes += sizes[i]!;
    tell(0);
  }
  // Sent as they lie there, and not from memory: large ones go in parts.
  const { digest } = await digestAdapterFiles(of.directory);
  if (digest !== content.digest)
    throw invalidAdapter(WEIGHTS_FILE, 'changed while it was published');
  return commitVersion(parts, of, content, options);
}

/** From here on there is a version. */
async function commitVersion(
  { documents, now }: PublishParts,
  of: VersionName,
  content: Content,
  options: PublishOptions,
): Promise<VersionManifest> {
  const call = options.signal ? { signal: options.signal } : {};
  const manifest = toManifest(of, content, { ...options, createdMs: now() });
  const bytes = serializeDocument(manifest);
  if (bytes.length > MAX_MANIFEST_BYTES) {
    const message = `The metrics take ${bytes.length} bytes, the limit is ${MAX_MANIFEST_BYTES}.`;
    throw new ServeError('invalid_request', message, { param: 'metrics' });
  }
  const state = await commit(documents, manifest, call);
  if (state.kind === 'manifest') return state.manifest;
  const message = 'This publication was given up as unfinished: publish again.';
  throw new ServeError('invalid_request', message);
}

/** Resolves when a reader sees them. */
async function leadAliases(
  { documents, pointers }: PublishParts,
  manifest: VersionManifest,
  aliases: readonly string[],
  { confirm, ...call }: StoreCall & Pick<PublishOptions, 'confirm'>,
): Promise<void> {
  const written = await pointers.change(
    manifest,
    async (now) => {
      await confirm?.();
      const next = withPublished(now, aliases, manifest.version);
      // Somebody may have removed the version in the meantime.
      return next === now || (await readManifest(documents, manifest, call)) ? next : now;
    },
    call,
  );
  if (written.revision === 0) return;
  const seen = await pointers.read(manifest, call);
  if (seen && seen.aliases.revision >= written.revision) return;
  throw new ServeError('adapter_unavailable', 'The adapter store does not keep what it is given.', {
    cause: new StoreError('invalid', 'conditional writes are not kept'),
  });
}
