// Jobs in the store: their records, and batches of older events.

import { Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import type { Clock } from '../common/waiting.ts';
import { JOB_STATUSES } from '../contracts/job-status.ts';
import { eventBatchSchema, type JobEvent, type JobRecord, jobSchema } from './job.ts';
import { JOB_ID } from './names.ts';
import { type RecordKind, type RecordName, RecordStore } from './record-store.ts';

/** Older events are moved into a batch, which keeps each write of the record small. */
const MAX_RECENT_EVENTS = 48;
/** Fits a job's settings, and several hundred events if a run reports many between two writes. */
const MAX_JOB_BYTES = 4 * 2 ** 20;
const SEQ_DIGITS = 9;

const JOBS: RecordKind<JobRecord> = {
  schema: jobSchema,
  maxBytes: MAX_JOB_BYTES,
  folder: '.jobs',
  file: 'job.json',
  marks: '.active-jobs/',
  statuses: JOB_STATUSES,
  idPattern: JOB_ID,
  unknown: { message: 'Could not find fine tune', param: 'fine_tuning_job_id' },
};

/** The prefix of everything that another machine needs to continue the job's run. */
export const runPrefix = ({ tenant, id }: RecordName): string => `${tenant}/.jobs/${id}/run/`;

/** The jobs of all tenants. Methods throw the guarded store's errors. */
export class JobStore extends RecordStore<JobRecord> {
  readonly #batches: Records<{ events: JobEvent[] }>;

  constructor(store: GuardedStore, clock?: Clock) {
    super(store, JOBS, clock);
    const batchKind = { schema: eventBatchSchema, maxBytes: MAX_JOB_BYTES };
    this.#batches = new Records(store, batchKind, clock);
  }

  /** Lists events before `beforeSeq`, newest first. */
  async events(job: JobRecord, beforeSeq: number, limit: number): Promise<JobEvent[]> {
    const events = job.recentEvents.filter(({ seq }) => seq < beforeSeq).reverse();
    const firstRecent = job.eventCount - job.recentEvents.length;
    const starts = (await this.#batchStarts(job)).filter((seq) => seq < firstRecent);
    for (const start of starts.reverse()) {
      if (events.length >= limit) break;
      if (start >= beforeSeq) continue;
      const batch = await this.#batches.read(this.#batchKey(job, start));
      const older = (batch?.events ?? []).filter(({ seq }) => seq < beforeSeq && seq < firstRecent);
      events.push(...older.reverse());
    }
    return events.slice(0, limit);
  }

  async #batchStarts(job: RecordName): Promise<number[]> {
    const prefix = this.#batchPrefix(job);
    const starts: number[] = [];
    for await (const { key } of this.store.list(prefix)) {
      starts.push(Number.parseInt(key.slice(prefix.length), 10));
    }
    return starts;
  }

  /** Moves the record's older events into a batch if there are too many. Writes the batch first, so that none is lost. */
  protected override async beforeWrite(now: JobRecord, next: JobRecord): Promise<JobRecord> {
    if (next.recentEvents.length <= MAX_RECENT_EVENTS || now.recentEvents.length === 0) return next;
    const key = this.#batchKey(now, now.recentEvents[0]!.seq);
    const { value } = await this.#batches.create(key, { events: now.recentEvents });
    // Another writer may already have moved some of these events.
    return { ...next, recentEvents: next.recentEvents.slice(value.events.length) };
  }

  #batchPrefix(job: RecordName): string {
    return `${this.folderOf(job)}events/`;
  }

  #batchKey(job: RecordName, seq: number): string {
    return `${this.#batchPrefix(job)}${String(seq).padStart(SEQ_DIGITS, '0')}.json`;
  }
}
