// `Idempotency-Key`: a request that is repeated within a day leads to the job that the first one made.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../errors.ts';
import { Records } from './records.ts';

export interface RepeatedRequest {
  /** As the client has chosen it. */
  readonly key: string;
  /** Equal for equal requests. */
  readonly body: string;
}

const useSchema = z.object({
  mark: z.string(),
  jobId: z.string(),
  body: z.string(),
  /** Unix milliseconds. */
  usedMs: z.int(),
});

const DAY_MS = 24 * 3600 * 1000;
const MAX_USE_BYTES = 4096;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/**
 * The job's id under this key: an earlier one of the same request, else `jobId`.
 * Throws `ServeError` (422) where the key was used for another request.
 */
export async function jobIdOf(
  store: ObjectStore,
  { key, body }: RepeatedRequest,
  { tenant, jobId, nowMs }: { tenant: string; jobId: string; nowMs: number },
): Promise<string> {
  const uses = new Records(store, { schema: useSchema, maxBytes: MAX_USE_BYTES });
  const place = `${tenant}/.idempotency/${sha256(key)}`;
  const mine = { jobId, body: sha256(body), usedMs: nowMs };
  const { value } = await uses.create(place, mine);
  const isOver = (usedMs: number) => nowMs - usedMs > DAY_MS;
  const use = isOver(value.usedMs)
    ? await uses.change(place, (now) => (isOver(now.usedMs) ? mine : undefined))
    : value;
  if (use && use.body !== mine.body) {
    const message = 'This Idempotency-Key was used for another request.';
    throw new ServeError('idempotency_key_reused', message);
  }
  return use?.jobId ?? jobId;
}
