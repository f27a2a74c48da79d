// Finds the attempt that a server follows: an open one that another server left behind, or a new one with everything that its
// pod needs in the store.
import path from 'node:path';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { StoreCall } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { holdsRun } from '../jobs/run-copy.ts';
import type { RunRequest } from '../jobs/runner.ts';
import { describePath } from '../jobs/stored-files.ts';
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
  readonly store: GuardedStore;
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
  if (newest > request.fencingToken) return 'taken';
  const attempt = Attempt.of(store, storedJob(request), newest);
  const record = await attempt.take(request.fencingToken, call);
  if (!record?.isOpen) return undefined;
  if (record.token > request.fencingToken) return 'taken';
  return { attempt, number: newest, handled: record.acknowledgedBatches };
}

/** Starts a new attempt. Returns `taken` if another server has used this lease's number or closed the attempt. */
export async function beginAttempt(
  request: RunRequest,
  { baseDigest, threads }: { readonly baseDigest: string; readonly threads: number },
  { store, log, call }: OpenOptions,
): Promise<OpenedAttempt | 'taken'> {
  const { fencingToken, tenant, jobId, runDir, gate } = request;
  const job = storedJob(request);
  const attempt = Attempt.of(store, job, fencingToken);
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
      token: fencingToken,
      isOpen: true,
      acknowledgedBatches: 0,
      job: { threads, ...settings },
      gate,
      baseDigest,
      inputs,
    },
    call,
  );
  if (record.token !== fencingToken || !record.isOpen) return 'taken';
  await removeAttempts(store, job, { before: fencingToken, call }).catch((error) =>
    log.warn({ err: error, job: jobId }, 'older attempts not removed'),
  );
  return { attempt, number: fencingToken, handled: record.acknowledgedBatches };
}

async function putInputs(
  request: RunRequest,
  store: GuardedStore,
  call: StoreCall,
): Promise<AttemptRecord['inputs']> {
  const inputs: AttemptRecord['inputs'] = [];
  for (const key of INPUT_KEYS) {
    const local = request.job[key];
    if (typeof local !== 'string') continue;
    const { root, files } = await describePath(local);
    await mapBounded(files, async ({ name, sha256 }) => {
      const to = inputKey(storedJob(request), sha256);
      const isThere = (await store.head(to, call)) !== undefined;
      if (!isThere) await store.put(to, { file: path.join(root, name) }, call);
    });
    // The name of a file of rows is its owner's.
    const nameOf = (name: string) => (key === 'initAdapter' ? name : key + path.extname(name));
    for (const file of files) inputs.push({ ...file, key, name: nameOf(file.name) });
  }
  return inputs;
}

function isInputKey(key: string): boolean {
  return (INPUT_KEYS as readonly string[]).includes(key);
}
