// The attempt that a server listens to: the one that another server has left, if anybody may still want what comes of
// it, else a new one with all that its pod needs in the store. Knows no cluster.
import path from 'node:path';
import type { ObjectStore, StoreCall } from '../../adapters/store/store.ts';
import type { Logger } from '../common/log.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { hashFile } from '../common/regular-file.ts';
import { holdsRun } from '../jobs/relocate-run.ts';
import type { JobWork } from '../jobs/runner.ts';
import { describeFiles, type StoredFile } from '../jobs/stored-files.ts';
import {
  Attempt,
  attemptNumbers,
  INPUT_KEYS,
  inputKey,
  removeAttempts,
  type Ticket,
} from './attempt.ts';

export interface OpenedAttempt {
  readonly attempt: Attempt;
  readonly number: number;
  /** Batches that a server before this one has dealt with. */
  readonly heard: number;
}

interface OpenOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly log: Pick<Logger, 'warn'>;
  readonly call: StoreCall;
}

const jobNameOf = ({ tenant, jobId }: JobWork) => ({ tenant, id: jobId });

/** `taken`: a server with a later lease has the job. Undefined: there is none to go on with. */
export async function takeAttempt(
  work: JobWork,
  { store, call }: OpenOptions,
): Promise<OpenedAttempt | 'taken' | undefined> {
  const numbers = await attemptNumbers(store, jobNameOf(work), call);
  const newest = numbers.at(-1);
  if (newest === undefined) return undefined;
  if (newest > work.token) return 'taken';
  const attempt = Attempt.of(store, jobNameOf(work), newest);
  const ticket = await attempt.take(work.token, call);
  if (!ticket?.isOpen) return undefined;
  if (ticket.token > work.token) return 'taken';
  return { attempt, number: newest, heard: ticket.heard };
}

export async function beginAttempt(
  work: JobWork,
  { baseDigest, threads }: { readonly baseDigest: string; readonly threads: number },
  { store, log, call }: OpenOptions,
): Promise<OpenedAttempt | 'taken'> {
  const { token, tenant, jobId, runDir, gate } = work;
  const of = jobNameOf(work);
  const attempt = Attempt.of(store, of, token);
  if (work.isResume && holdsRun(runDir)) await attempt.archive.save(runDir, toSignal(call));
  const inputs = await putInputs(work, store, call);
  const settings = Object.fromEntries(
    Object.entries(work.job).filter(([key]) => key !== 'model' && !isInputKey(key)),
  );
  const job = { threads, ...settings };
  const ticket = await attempt.create(
    { schema: 1, jobId, tenant, token, isOpen: true, heard: 0, job, gate, baseDigest, inputs },
    call,
  );
  if (ticket.token !== token || !ticket.isOpen) return 'taken';
  await removeAttempts(store, of, { before: token, call }).catch((error) =>
    log.warn({ err: error, job: jobId }, 'older attempts were not removed'),
  );
  return { attempt, number: token, heard: ticket.heard };
}

async function putInputs(
  work: JobWork,
  store: ObjectStore,
  call: StoreCall,
): Promise<Ticket['inputs']> {
  const inputs: Ticket['inputs'] = [];
  for (const key of INPUT_KEYS) {
    const place = work.job[key];
    if (typeof place !== 'string') continue;
    const { root, files } = await describeInput(key, place);
    await mapBounded(files, async ({ name, source, sha256 }) => {
      const to = inputKey(jobNameOf(work), sha256);
      const isThere = (await store.head(to, call)) !== undefined;
      if (!isThere) await store.put(to, { file: path.join(root, source ?? name) }, call);
    });
    inputs.push(...files.map(({ source: _, ...file }) => ({ key, ...file })));
  }
  return inputs;
}

async function describeInput(
  key: (typeof INPUT_KEYS)[number],
  place: string,
): Promise<{ root: string; files: (StoredFile & { source?: string })[] }> {
  if (key === 'initAdapter') return { root: place, files: await describeFiles(place) };
  const { dir, base, ext } = path.parse(place);
  return { root: dir, files: [{ name: `${key}${ext}`, source: base, ...(await hashFile(place)) }] };
}

function isInputKey(key: string): boolean {
  return (INPUT_KEYS as readonly string[]).includes(key);
}

function toSignal({ signal = new AbortController().signal }: StoreCall): { signal: AbortSignal } {
  return { signal };
}
