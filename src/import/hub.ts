// Fetches a model's files from the Hugging Face hub into the cache that its Python library uses too: blobs by content,
// snapshots by commit. A download that broke off goes on where it stopped, and is checked against its digest.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, statSync } from 'node:fs';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  downloadFile,
  HubApiError,
  type ListFileEntry,
  listFiles,
  modelInfo,
} from '@huggingface/hub';
import { FileError } from '../common/errors.ts';
import { readRegular, SMALL_FILE_BYTES } from '../common/regular-file.ts';
import { COMPANION_FILES } from './checkpoint.ts';
import { FetchError } from './fetch-error.ts';
import { CONFIG_FILE, INDEX_FILE, readJson, shardNames, WEIGHTS_FILE } from './folder.ts';

export interface HubOptions {
  /** `hub/` below HF_HOME. */
  readonly cacheDir: string;
  readonly token?: string | undefined;
  /** Default: https://huggingface.co */
  readonly endpoint?: string | undefined;
  /** Only what the cache holds. */
  readonly isOffline?: boolean | undefined;
}

export interface FetchOptions {
  readonly hub: HubOptions;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A hub that does not answer the first question within this is out of reach. */
const ANSWER_TIMEOUT_MS = 20_000;
/** A download that stands still for this long is given up; what has come is kept. */
const STALL_TIMEOUT_MS = 60_000;

/** What every call to the hub needs. */
type Access = Pick<Parameters<typeof downloadFile>[0], 'hubUrl' | 'accessToken' | 'repo'>;

/**
 * The folder of a snapshot with configuration, tokenizer and safetensors. Where the hub is out of reach, the last one in
 * the cache. Throws `FetchError` where there is none, `FileError` for a model without safetensors.
 */
export async function fetchSnapshot(id: string, options: FetchOptions): Promise<string> {
  const { hub, signal } = options;
  const repoDir = path.join(hub.cacheDir, `models--${id.replace('/', '--')}`);
  if (hub.isOffline) {
    return cachedSnapshot(repoDir) ?? refuse(id, 'is not in the cache, and HF_HUB_OFFLINE is set');
  }
  const access = createAccess(id, hub);
  let commit: string;
  try {
    commit = await findCommit(id, access, signal);
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof HubApiError) throw explain(id, cause);
    return cachedSnapshot(repoDir) ?? refuse(id, 'the hub is out of reach', cause);
  }
  try {
    return await fetchFiles({ access, commit, repoDir, options, id });
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof FetchError || cause instanceof FileError) throw cause;
    throw cause instanceof HubApiError ? explain(id, cause) : brokenOff(id, cause);
  }
}

function createAccess(id: string, { endpoint, token }: HubOptions): Access {
  return {
    repo: { type: 'model', name: id },
    ...(endpoint && { hubUrl: endpoint.replace(/\/+$/, '') }),
    ...(token && { accessToken: token }),
  } as Access;
}

async function findCommit(
  id: string,
  access: Access,
  signal: AbortSignal | undefined,
): Promise<string> {
  const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const { sha } = await modelInfo({
    ...access,
    name: id,
    additionalFields: ['sha'],
    fetch: withSignal(signal ? AbortSignal.any([signal, timeout]) : timeout),
  });
  if (!/^[0-9a-f]{40}$/.test(sha)) throw new FetchError(`${id}: the hub names no commit`);
  return sha;
}

interface Job {
  readonly id: string;
  readonly access: Access;
  readonly commit: string;
  readonly repoDir: string;
  readonly options: FetchOptions;
}

async function fetchFiles(job: Job): Promise<string> {
  const { access, commit, repoDir, options, id } = job;
  const entries = new Map<string, ListFileEntry>();
  const list = listFiles({ ...access, revision: commit, fetch: withSignal(options.signal) });
  for await (const entry of list) if (entry.type === 'file') entries.set(entry.path, entry);
  const snapshot = path.join(repoDir, 'snapshots', commit);
  await mkdir(snapshot, { recursive: true });
  await mkdir(path.join(repoDir, 'blobs'), { recursive: true });

  const wanted = [CONFIG_FILE, ...COMPANION_FILES].filter((name) => entries.has(name));
  if (entries.has(WEIGHTS_FILE)) {
    wanted.push(WEIGHTS_FILE);
  } else if (entries.has(INDEX_FILE)) {
    await fetchFile(job, entries.get(INDEX_FILE)!, () => {});
    wanted.push(...shardNames(readJson(snapshot, INDEX_FILE)));
  } else {
    throw new FileError(
      id,
      `has neither ${WEIGHTS_FILE} nor its index (only safetensors are read)`,
    );
  }
  const files = wanted.map((name) => entries.get(name) ?? refuse(id, `has no ${name}`));
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of files) {
    await fetchFile(job, file, (bytes) => {
      done += bytes;
      options.onBytes?.(done, total);
    });
  }
  await mkdir(path.join(repoDir, 'refs'), { recursive: true });
  await writeFile(path.join(repoDir, 'refs', 'main'), commit);
  return snapshot;
}

/** Brings one file into the cache, unless it is there. `onBytes` counts what is there too. */
async function fetchFile(
  job: Job,
  entry: ListFileEntry,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const link = path.join(job.repoDir, 'snapshots', job.commit, entry.path);
  const digest = entry.lfs?.oid ?? entry.oid ?? '';
  if (!/^[0-9a-f]{40,64}$/.test(digest)) refuse(job.id, `${entry.path}: the hub gives no digest`);
  const blob = path.join(job.repoDir, 'blobs', digest);
  if (existsSync(blob)) {
    onBytes(entry.size);
  } else {
    await download(job, entry, `${blob}.incomplete`, onBytes);
    if ((await digestOf(`${blob}.incomplete`, entry)) !== digest) {
      await rm(`${blob}.incomplete`);
      refuse(job.id, `${entry.path}: what was downloaded has another digest`);
    }
    await rename(`${blob}.incomplete`, blob);
  }
  if (!existsSync(link)) {
    await rm(link, { force: true });
    await symlink(path.relative(path.dirname(link), blob), link);
  }
}

async function download(
  { access, commit, id, options }: Job,
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
    const found = await downloadFile({
      ...access,
      path: file,
      revision: commit,
      fetch: withSignal(signal),
    });
    if (!found) refuse(id, `has no ${file}`);
    const rest = start > 0 ? found.slice(start) : found;
    const count = async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        timer.refresh();
        onBytes(chunk.length);
        yield chunk;
      }
    };
    const body = Readable.fromWeb(rest.stream() as Parameters<typeof Readable.fromWeb>[0]);
    await pipeline(body, count, createWriteStream(partial, { flags: start > 0 ? 'a' : 'w' }), {
      signal,
    });
  } finally {
    clearTimeout(timer);
  }
}

/** As the hub names contents: SHA-256 of a large file, git's blob id of a small one. */
async function digestOf(file: string, { lfs, size }: ListFileEntry): Promise<string> {
  const hash = lfs ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function cachedSnapshot(repoDir: string): string | undefined {
  const ref = path.join(repoDir, 'refs', 'main');
  if (!existsSync(ref)) return undefined;
  const snapshot = path.join(
    repoDir,
    'snapshots',
    readRegular(ref, SMALL_FILE_BYTES).toString().trim(),
  );
  return existsSync(path.join(snapshot, CONFIG_FILE)) ? snapshot : undefined;
}

function withSignal(signal: AbortSignal | undefined): typeof fetch {
  return (input, init) => fetch(input, { ...init, ...(signal && { signal }) });
}

function refuse(id: string, reason: string, cause?: unknown): never {
  throw new FetchError(`${id}: ${reason}`, { cause });
}

function brokenOff(id: string, cause: unknown): FetchError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new FetchError(`${id}: the download broke off (${reason}); import again to go on`, {
    cause,
  });
}

function explain(id: string, cause: HubApiError): FetchError {
  const { statusCode } = cause;
  const isHidden = statusCode === 401 || statusCode === 403 || statusCode === 404;
  const reason = isHidden
    ? `the hub shows no such model (HTTP ${statusCode}; a private or gated one needs HF_TOKEN)`
    : `the hub answered HTTP ${statusCode}`;
  return new FetchError(`${id}: ${reason}`, { cause });
}
