// Downloads a model from the Hugging Face hub into the cache of its Python library: blobs by content, snapshots by commit.
// Resumes interrupted downloads and verifies the digests of all files.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import {
  downloadFile,
  HubApiError,
  type ListFileEntry,
  listFiles,
  modelInfo,
} from '@huggingface/hub';
import { FetchError, FileError } from '../common/errors.ts';
import { makeFolder } from '../common/folders.ts';
import { append } from '../common/long-arrays.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { COMPANION_FILES } from './checkpoint.ts';
import { CONFIG_FILE, INDEX_FILE, readJson, shardNames, WEIGHTS_FILE } from './folder.ts';

/** Settings of the hub. */
export interface HubOptions {
  /** The folder `hub` in HF_HOME. */
  readonly cacheDir: string;
  readonly token?: string | undefined;
  /** Default: https://huggingface.co */
  readonly endpoint?: string | undefined;
  /** Whether to use only the cache. */
  readonly isOffline?: boolean | undefined;
}

/** Options of `fetchSnapshot`. */
interface SnapshotOptions {
  readonly hub: HubOptions;
  /** The commit to download. Its id is the hash of all files' digests. Default: the newest. */
  readonly commit?: string | undefined;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The time limit for the first request. After that, the hub counts as unreachable. */
const ANSWER_TIMEOUT_MS = 20_000;
/** A download without progress for this long is aborted. The part received so far is kept. */
const STALL_TIMEOUT_MS = 60_000;

/** The common arguments of all calls to the hub. */
type RepoAccess = Pick<Parameters<typeof downloadFile>[0], 'hubUrl' | 'accessToken' | 'repo'>;

/**
 * Returns the folder of a snapshot with configuration, tokenizer and safetensors, and downloads missing files. If the hub is
 * unreachable, returns the latest snapshot in the cache, or that of the given commit. Throws `FetchError` if there is none, and
 * `FileError` if the model has no safetensors.
 */
export async function fetchSnapshot(id: string, options: SnapshotOptions): Promise<string> {
  const { hub, signal } = options;
  const repoDir = path.join(hub.cacheDir, `models--${id.replace('/', '--')}`);
  const cached = (otherwise: string, cause?: unknown) =>
    cachedSnapshot(repoDir, options.commit) ?? fail(id, otherwise, cause);
  if (hub.isOffline)
    return cached('is not in the cache, and HF_HUB_OFFLINE forbids downloading it');
  const access = createRepoAccess(id, hub);
  let commit: string;
  try {
    commit = await findCommit(id, access, options);
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof HubApiError) throw httpError(id, cause, options.commit);
    return cached('the hub cannot be reached. Check the network and HF_ENDPOINT', cause);
  }
  try {
    return await fetchFiles({ access, commit, repoDir, options, id });
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof FetchError || cause instanceof FileError) throw cause;
    throw cause instanceof HubApiError ? httpError(id, cause) : interrupted(id, cause);
  }
}

function createRepoAccess(id: string, { endpoint, token }: HubOptions): RepoAccess {
  return {
    repo: { type: 'model', name: id },
    ...(endpoint && { hubUrl: endpoint.replace(/\/+$/, '') }),
    ...(token && { accessToken: token }),
  } as RepoAccess;
}

async function findCommit(
  id: string,
  access: RepoAccess,
  { commit, signal }: SnapshotOptions,
): Promise<string> {
  const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const { sha } = await modelInfo({
    ...access,
    name: id,
    ...(commit && { revision: commit }),
    additionalFields: ['sha'],
    fetch: withSignal(signal ? AbortSignal.any([signal, timeout]) : timeout),
  });
  if (!/^[0-9a-f]{40}$/.test(sha)) fail(id, 'the hub returned no commit');
  if (commit && sha !== commit) fail(id, `the hub returned commit ${sha} instead of ${commit}`);
  return sha;
}

/** A snapshot being downloaded. */
interface Download {
  readonly id: string;
  readonly access: RepoAccess;
  readonly commit: string;
  readonly repoDir: string;
  readonly options: SnapshotOptions;
}

async function fetchFiles(download: Download): Promise<string> {
  const { access, commit, repoDir, options, id } = download;
  const entries = new Map<string, ListFileEntry>();
  const list = listFiles({ ...access, revision: commit, fetch: withSignal(options.signal) });
  for await (const entry of list) if (entry.type === 'file') entries.set(entry.path, entry);
  const snapshot = path.join(repoDir, 'snapshots', commit);
  await makeFolder(snapshot);
  await makeFolder(path.join(repoDir, 'blobs'));

  const names = [CONFIG_FILE, ...COMPANION_FILES].filter((name) => entries.has(name));
  if (entries.has(WEIGHTS_FILE)) {
    names.push(WEIGHTS_FILE);
  } else if (entries.has(INDEX_FILE)) {
    await fetchFile(download, entries.get(INDEX_FILE)!, () => {});
    append(names, shardNames(readJson(snapshot, INDEX_FILE)));
  } else {
    throw new FileError(
      id,
      `has neither ${WEIGHTS_FILE} nor its index. Only models in safetensors format can be imported.`,
    );
  }
  const files = names.map((name) => entries.get(name) ?? fail(id, `has no ${name}`));
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of files) {
    await fetchFile(download, file, (bytes) => {
      done += bytes;
      options.onBytes?.(done, total);
    });
  }
  if (!options.commit) {
    await makeFolder(path.join(repoDir, 'refs'));
    await writeFile(path.join(repoDir, 'refs', 'main'), commit);
  }
  return snapshot;
}

/** Downloads a file into the cache unless it is there. `onBytes` also counts bytes that were already present. */
async function fetchFile(
  download: Download,
  entry: ListFileEntry,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const link = path.join(download.repoDir, 'snapshots', download.commit, entry.path);
  const digest = entry.lfs?.oid ?? entry.oid ?? '';
  if (!/^[0-9a-f]{40,64}$/.test(digest))
    fail(download.id, `${entry.path}: the hub returned no digest`);
  const blob = path.join(download.repoDir, 'blobs', digest);
  if (existsSync(blob)) {
    onBytes(entry.size);
  } else {
    await transfer(download, entry, `${blob}.incomplete`, onBytes);
    if ((await digestOf(`${blob}.incomplete`, entry)) !== digest) {
      await rm(`${blob}.incomplete`);
      fail(
        download.id,
        `${entry.path}: the downloaded bytes do not match the digest that the hub announced. Import again`,
      );
    }
    await rename(`${blob}.incomplete`, blob);
  }
  if (!existsSync(link)) {
    await rm(link, { force: true });
    await symlink(path.relative(path.dirname(link), blob), link);
  }
}

async function transfer(
  { access, commit, id, options }: Download,
  { path: file, size }: ListFileEntry,
  partial: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let start = existsSync(partial) ? statSync(partial).size : 0;
  if (start > size) start = 0;
  onBytes(start);
  if (start === size && start > 0) return;
  const stall = new AbortController();
  const timer = setTimeout(() => stall.abort(), STALL_TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, stall.signal]) : stall.signal;
  try {
    const blob = await downloadFile({
      ...access,
      path: file,
      revision: commit,
      fetch: withSignal(signal),
    });
    if (!blob) fail(id, `has no ${file}`);
    const rest = start > 0 ? blob.slice(start) : blob;
    const body = Readable.fromWeb(rest.stream() as Parameters<typeof Readable.fromWeb>[0]);
    // Each chunk is written before the next one is read. A pipeline would drop buffered data when the download breaks off.
    await using target = await open(partial, start > 0 ? 'a' : 'w');
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      timer.refresh();
      onBytes(chunk.length);
      await target.writeFile(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the digest that the hub uses: SHA-256 for large files, git's blob id for small ones. */
async function digestOf(file: string, { lfs, size }: ListFileEntry): Promise<string> {
  const hash = lfs ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function cachedSnapshot(repoDir: string, commit = readMain(repoDir)): string | undefined {
  if (commit === undefined) return undefined;
  const snapshot = path.join(repoDir, 'snapshots', commit);
  return isWhole(snapshot) ? snapshot : undefined;
}

function readMain(repoDir: string): string | undefined {
  const ref = path.join(repoDir, 'refs', 'main');
  return existsSync(ref) ? readRegular(ref, SMALL_FILE_BYTES).toString().trim() : undefined;
}

/** Weights are downloaded last. */
function isWhole(snapshot: string): boolean {
  const has = (name: string) => existsSync(path.join(snapshot, name));
  if (!has(CONFIG_FILE)) return false;
  return (
    has(WEIGHTS_FILE) || (has(INDEX_FILE) && shardNames(readJson(snapshot, INDEX_FILE)).every(has))
  );
}

function withSignal(signal: AbortSignal | undefined): typeof fetch {
  return (input, init) => fetch(input, { ...init, ...(signal && { signal }) });
}

function fail(id: string, reason: string, cause?: unknown): never {
  throw new FetchError(`${id}: ${reason}`, { cause });
}

function interrupted(id: string, cause: unknown): FetchError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new FetchError(`${id}: the download broke off (${reason}). Import again to resume it.`, {
    cause,
  });
}

/** @param commit the commit of the catalogue, if the hub was asked for it */
function httpError(id: string, cause: HubApiError, commit?: string): FetchError {
  const { statusCode } = cause;
  const isHidden = statusCode === 401 || statusCode === 403 || statusCode === 404;
  const pin =
    commit && statusCode === 404
      ? `, or its commit ${commit} is gone (\`lorikeet import ${id}\` takes the newest)`
      : '';
  const reason = isHidden
    ? `the hub has no such model, or it is private or gated and needs HF_TOKEN${pin} (HTTP ${statusCode})`
    : `the hub answered HTTP ${statusCode}`;
  return new FetchError(`${id}: ${reason}`, { cause });
}
