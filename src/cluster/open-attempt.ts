// Finds the attempt that a server follows: an open one that another server has left, or a new one with everything that its
// pod needs in the store. Knows no cluster.
import path from 'node:path';
import type { ObjectStore, StoreCall } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { hashFile } from '../common/regular-file.ts';
import { holdsRun } from '../jobs/run-copy.ts';
import type { RunRequest } from '../jobs/runner.ts';
import { describeFiles, type StoredFile } from '../jobs/stored-files.ts';
import {
  Attempt,
  type AttemptRecord,
  attemptNumbers,
  INPUT_KEYS,
  inputKey,
  removeAttempts,
} from './attempt.ts';

/** An attempt that this server follows. */
export interface OpenedAttempt {
  readonly attempt: Attempt;
  readonly number: number;
  /** How many batches an earlier server has handled. */
  readonly handled: number;
}

interface OpenOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly log: Pick<Logger, 'warn'>;
  readonly call: { readonly signal: AbortSignal };
}

const storedJob = ({ tenant, jobId }: RunRequest) => ({ tenant, id: jobId });

/** Takes over the newest attempt. Returns `taken` if a later lease has the job, or undefined if no attempt is open. */
export async function takeAttempt(
  request: RunRequest,
  { store, call }: OpenOptions,
): Promise<OpenedAttempt | 'taken' | undefined> {
  const numbers = await attemptNumbers(store, storedJob(request), call);
  const newest = numbers.at(-1);
  if (newest === undefined) return undefined;
  if (newest > request.token) return 'taken';
  const attempt = Attempt.of(store, storedJob(request), newest);
  const record = await attempt.take(request.token, call);
  if (!record?.isOpen) return undefined;
  if (record.token > request.token) return 'taken';
  return { attempt, number: newest, handled: record.heard };
}

/** Starts a new attempt. Returns `taken` if another server has used this lease's number or closed the attempt. */
export async function beginAttempt(
  request: RunRequest,
  { baseDigest, threads }: { readonly baseDigest: string; readonly threads: number },
  { store, log, call }: OpenOptions,
): Promise<OpenedAttempt | 'taken'> {
  const { token, tenant, jobId, runDir, gate } = request;
  const job = storedJob(request);
  const attempt = Attempt.of(store, job, token);
  if (request.isResume && holdsRun(runDir)) await attempt.archive.save(runDir, call);
  const inputs = await putInputs(request, store, call);
  const settings = Object.fromEntries(
    Object.entries(request.job).filter(([key]) => key !== 'model' && !isInputKey(key)),
  );
  const record = await attempt.create(
    {
      schema: 1,
      jobId,
      tenant,
      token,
      isOpen: true,
      heard: 0,
      job: { threads, ...settings },
      gate,
      baseDigest,
      inputs,
    },
    call,
  );
  if (record.token !== token || !record.isOpen) return 'taken';
  await removeAttempts(store, job, { before: token, call }).catch((error) =>
    log.warn({ err: error, job: jobId }, 'older attempts not removed'),
  );
  return { attempt, number: token, handled: record.heard };
}

async function putInputs(
  request: RunRequest,
  store: ObjectStore,
  call: StoreCall,
): Promise<AttemptRecord['inputs']> {
  const inputs: AttemptRecord['inputs'] = [];
  for (const key of INPUT_KEYS) {
    const local = request.job[key];
    if (typeof local !== 'string') continue;
    const { root, files } = await describeInput(key, local);
    await mapBounded(files, async ({ name, source, sha256 }) => {
      const to = inputKey(storedJob(request), sha256);
      const isThere = (await store.head(to, call)) !== undefined;
      if (!isThere) await store.put(to, { file: path.join(root, source ?? name) }, call);
    });
    inputs.push(...files.map(({ source: _, ...file }) => ({ key, ...file })));
  }
  return inputs;
}

async function describeInput(
  key: (typeof INPUT_KEYS)[number],
  local: string,
): Promise<{ root: string; files: (StoredFile & { source?: string })[] }> {
  if (key === 'initAdapter') return { root: local, files: await describeFiles(local) };
  const { dir, base, ext } = path.parse(local);
  return { root: dir, files: [{ name: `${key}${ext}`, source: base, ...(await hashFile(local)) }] };
}

function isInputKey(key: string): boolean {
  return (INPUT_KEYS as readonly string[]).includes(key);
}
