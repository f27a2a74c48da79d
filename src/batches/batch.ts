// A batch as it is stored, and everything that can happen to it, as pure functions from state to state. The clock is an
// argument. A line counts as answered once a part that contains its result is in the record.
import { z } from 'zod';
import { assert } from '../common/assert.ts';
import { ServeError } from '../common/errors.ts';
import { BATCH_ENDPOINTS, BATCH_STATUSES, type BatchStatus } from '../contracts/batch-status.ts';

const unixMs = z.int();
const count = z.int().min(0);

const cursorSchema = z.object({
  /** Lines from this one on are not answered. Lines count from 0, without blank ones. */
  line: count,
  /** Earlier lines that are not answered, in ascending order. There are no more of them than requests in flight. */
  open: z.array(count),
});

/** The answered lines of a batch. */
export type BatchCursor = z.infer<typeof cursorSchema>;

const usageSchema = z.object({
  inputTokens: count,
  cachedTokens: count,
  outputTokens: count,
});

/** The tokens that lines have used. */
export type BatchUsage = z.infer<typeof usageSchema>;

const faultSchema = z.object({
  code: z.string(),
  message: z.string(),
  /** The line of the file, from 1. */
  line: z.int().nullable(),
  param: z.string().nullable(),
});

/** The reason that a batch failed. */
export type BatchFault = z.infer<typeof faultSchema>;

/** The stored record. Its keys are a file format: old records must stay readable. */
export const batchSchema = z.object({
  schema: z.literal(1),
  id: z.string(),
  tenant: z.string(),
  /** The digest of the base. Only servers with this base work on the batch. */
  base: z.string(),
  createdMs: unixMs,
  /** When lines that are not answered expire. */
  expiresMs: unixMs,
  status: z.enum(BATCH_STATUSES),
  /** When it first had each status. */
  atMs: z.partialRecord(z.enum(BATCH_STATUSES), unixMs),
  endpoint: z.enum(BATCH_ENDPOINTS),
  inputFile: z.string(),
  metadata: z.record(z.string(), z.string()).optional(),
  /** How long the files with its results are kept. */
  keepMs: z.int().optional(),
  /** The model of all lines, if there is only one. */
  model: z.string().optional(),
  /** The number of lines. 0 until they have been validated. */
  total: count,
  completed: count,
  failed: count,
  usage: usageSchema,
  cursor: cursorSchema,
  /** The parts that contain the results, by the number of the lease that wrote them. Each lease counts its own from 0. */
  parts: z.array(z.object({ token: z.int(), count })),
  errors: z.array(faultSchema).optional(),
  /** The ids that the files with the results get. */
  reserved: z.object({ output: z.string(), errors: z.string() }).optional(),
  outputFile: z.string().optional(),
  errorFile: z.string().optional(),
  token: count,
  lease: z.object({ owner: z.string(), token: z.int(), beat: z.int() }).optional(),
  /** Consecutive interruptions without a new part between them. */
  retries: count.default(0),
  /** Its name in 0.3.0, whose servers do not read records without it. */
  setbacks: count.default(0),
});

/** A batch in the store. */
export type BatchRecord = z.infer<typeof batchSchema>;

/** The facts that a client decides. */
export type NewBatch = Pick<BatchRecord, 'endpoint' | 'inputFile' | 'metadata' | 'keepMs'>;

/** How long a batch may take: OpenAI's only window. */
const WINDOW_MS = 24 * 3_600_000;

/** Returns the state of a new batch. */
export function newBatch(
  { tenant, id, base }: Pick<BatchRecord, 'tenant' | 'id' | 'base'>,
  request: NewBatch,
  nowMs: number,
): BatchRecord {
  return {
    schema: 1,
    id,
    tenant,
    base,
    createdMs: nowMs,
    expiresMs: nowMs + WINDOW_MS,
    status: 'validating',
    atMs: {},
    ...request,
    total: 0,
    completed: 0,
    failed: 0,
    usage: NO_USAGE,
    cursor: { line: 0, open: [] },
    parts: [],
    token: 0,
    retries: 0,
    setbacks: 0,
  };
}

/** The usage of no lines. */
export const NO_USAGE: BatchUsage = {
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
};

/** Returns the sum of two usages. */
export function addUsage(a: BatchUsage, b: BatchUsage): BatchUsage {
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    outputTokens: a.outputTokens + b.outputTokens,
  };
}

/** Action → status before → status after. Clients cancel; workers take the other actions. */
const TRANSITIONS = {
  start: { validating: 'in_progress' },
  finalize: { in_progress: 'finalizing' },
  complete: { finalizing: 'completed', cancelling: 'cancelled' },
  expire: { finalizing: 'expired', cancelling: 'cancelled' },
  cancel: { validating: 'cancelling', in_progress: 'cancelling', finalizing: 'cancelling' },
  fail: { validating: 'failed', in_progress: 'failed', finalizing: 'failed', cancelling: 'failed' },
} as const satisfies Record<string, Partial<Record<BatchStatus, BatchStatus>>>;

/** Anything that changes a batch's status. */
export type BatchAction = keyof typeof TRANSITIONS;

const ENDED: ReadonlySet<BatchStatus> = new Set(['failed', 'completed', 'expired', 'cancelled']);

/** Whether the batch is over. */
export function hasBatchEnded({ status }: Pick<BatchRecord, 'status'>): boolean {
  return ENDED.has(status);
}

/** Returns the batch after an action, or undefined if the action is not possible in its status. */
export function advanceBatch(
  batch: BatchRecord,
  action: BatchAction,
  nowMs: number,
): BatchRecord | undefined {
  const next = (TRANSITIONS[action] as Partial<Record<BatchStatus, BatchStatus>>)[batch.status];
  if (next === undefined) return undefined;
  return { ...batch, status: next, atMs: { [next]: nowMs, ...batch.atMs } };
}

/**
 * Returns the batch after a client's cancellation, or undefined if it is cancelled already. Throws `ServeError` (400) if it
 * has ended.
 */
export function cancelBatch(batch: BatchRecord, nowMs: number): BatchRecord | undefined {
  if (batch.status === 'cancelling' || batch.status === 'cancelled') return undefined;
  const cancelled = advanceBatch(batch, 'cancel', nowMs);
  if (cancelled) return cancelled;
  const message = `Batch ${batch.id} is ${batch.status}, so it cannot be cancelled.`;
  throw new ServeError('invalid_request', message);
}

/** Returns the failed batch with its reasons, or undefined if it has ended already. */
export function failBatch(
  batch: BatchRecord,
  errors: readonly BatchFault[],
  nowMs: number,
): BatchRecord | undefined {
  const failed = advanceBatch(batch, 'fail', nowMs);
  return failed && { ...failed, errors: [...errors] };
}

/** The most consecutive interruptions without a new part between them. */
const MAX_INTERRUPTIONS = 3;

/** Returns the batch after an interruption: unchanged but for the count, or failed. Undefined if it has ended. */
export function interruptBatch(
  batch: BatchRecord,
  message: string,
  nowMs: number,
): BatchRecord | undefined {
  if (hasBatchEnded(batch)) return undefined;
  const retries = batch.retries + 1;
  if (retries <= MAX_INTERRUPTIONS) return { ...batch, retries };
  return failBatch(batch, [{ code: 'internal_error', message, line: null, param: null }], nowMs);
}

/** Whether a line's result is in the record. */
export function isAnswered({ line, open }: BatchCursor, index: number): boolean {
  return index < line && !open.includes(index);
}

/** Adds answered lines. No line may be answered twice. */
export function withAnswered(cursor: BatchCursor, lines: Iterable<number>): BatchCursor {
  const open = new Set(cursor.open);
  let { line } = cursor;
  for (const index of lines) {
    for (; line <= index; line++) open.add(line);
    assert(open.delete(index), 'a line is answered once');
  }
  return { line, open: [...open].sort((a, b) => a - b) };
}

/** The results of some lines, which are in the store already. */
export interface BatchPart {
  /** Its number among the parts of its lease. */
  readonly seq: number;
  readonly lines: readonly number[];
  readonly completed: number;
  readonly failed: number;
  readonly usage: BatchUsage;
}

/**
 * Adds a part of the current lease. Returns undefined if the record has it: the store may have carried out a write whose
 * response was lost.
 */
export function withPart(batch: BatchRecord, part: BatchPart): BatchRecord | undefined {
  const { token: fencingToken } = batch;
  const own = batch.parts.find(({ token }) => token === fencingToken)?.count ?? 0;
  if (own > part.seq) return undefined;
  assert(own === part.seq, 'parts are added in order');
  return {
    ...batch,
    cursor: withAnswered(batch.cursor, part.lines),
    parts: [
      ...batch.parts.filter(({ token }) => token !== fencingToken),
      { token: fencingToken, count: own + 1 },
    ],
    completed: batch.completed + part.completed,
    failed: batch.failed + part.failed,
    usage: addUsage(batch.usage, part.usage),
    retries: 0,
  };
}
