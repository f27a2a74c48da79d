// Jobs in the store: one record per job, changed by compare-and-swap, batches of older events, and an open-job mark per
// unfinished job, through which servers find work and see who is alive. Makes no decisions about jobs.

import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { type Etag, isDamage, listFolders, type StoreCall } from '../../adapters/store/store.ts';
import { entryLimit } from '../common/entry-limit.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Clock, systemClock } from '../common/waiting.ts';
import { JOB_STATUSES, type JobStatus } from '../contracts/job-status.ts';
import {
  eventBatchSchema,
  type JobChange,
  type JobEvent,
  type JobRecord,
  jobSchema,
} from './job.ts';
import { JOB_ID } from './names.ts';

/** Older events are moved into a batch, which keeps each write of the record small. */
const MAX_RECENT_EVENTS = 48;
/** Fits a job's settings, and several hundred events if a run reports many between two writes. */
const MAX_JOB_BYTES = 4 * 2 ** 20;
const ACTIVE = '.active-jobs/';
/** The longest time between writing a job's mark and its record. An older mark without a record is left over from a failure. */
const MAX_CREATION_MS = 3_600_000;
const SEQ_DIGITS = 9;
/** Far more jobs than a process changes between two renewals, 100 bytes each. */
const MAX_MARKED = 10_000;

/** How often a lease holder renews its mark at most. It renews its lease every three seconds. */
const MARK_RENEWAL_MS = 2_500;
/** A mark without a state is shorter. */
const MIN_MARK_BYTES = 64;

/** Identifies a job in the store. */
export interface JobName {
  readonly tenant: string;
  readonly id: string;
}

/** An unfinished job as a list shows it: without a read, others see its state and whether its lease holder is alive. */
export interface OpenJobMark extends JobName {
  /** Changes when the state changes, and every few seconds while the job is leased. */
  readonly etag: Etag;
  /** Undefined if the mark does not tell. It may be older than the record. */
  readonly state: JobState | undefined;
}

/** The part of a job's record that its mark shows. */
interface JobState {
  readonly status: JobStatus;
  readonly isLeased: boolean;
}

/** If a mark has not changed for so long, its lease holder may be gone. */
export const MARK_QUIET_MS = 10_000;

const folderOf = ({ tenant, id }: JobName) => `${tenant}/.jobs/${id}/`;
const recordKey = (job: JobName) => `${folderOf(job)}job.json`;
const batchKey = (job: JobName, seq: number) =>
  `${folderOf(job)}events/${String(seq).padStart(SEQ_DIGITS, '0')}.json`;
const activeKey = ({ tenant, id }: JobName) => `${ACTIVE}${id}.${tenant}`;

/** The prefix of everything that another machine needs to continue the job's run. */
export const runPrefix = (job: JobName): string => `${folderOf(job)}run/`;

/** The jobs of all tenants. Methods throw the guarded store's errors. */
export class JobStore {
  readonly #store: GuardedStore;
  readonly #jobs: Records<JobRecord>;
  readonly #batches: Records<{ events: JobEvent[] }>;
  readonly #clock: Clock;
  /** When this process first saw a mark without a record. Uses this machine's clock: the store's may differ by hours. */
  readonly #recordless = new Map<string, number>();
  /** Job → the mark that this process wrote last. */
  readonly #marked = new LRUCache<string, { readonly code: number; readonly atMs: number }>(
    entryLimit(MAX_MARKED),
  );

  constructor(store: GuardedStore, clock: Clock = systemClock) {
    this.#store = store;
    this.#clock = clock;
    this.#jobs = new Records(store, { schema: jobSchema, maxBytes: MAX_JOB_BYTES }, clock);
    const batchKind = { schema: eventBatchSchema, maxBytes: MAX_JOB_BYTES };
    this.#batches = new Records(store, batchKind, clock);
  }

  /**
   * Creates a job, or returns the existing one with this id. Writes the mark before the record, so that servers cannot overlook
   * the job.
   */
  async create(job: JobRecord): Promise<JobRecord> {
    await this.#store.put(activeKey(job), markOf(job));
    return (await this.#jobs.create(recordKey(job), job)).value;
  }

  /** Returns a job, or undefined if there is none. */
  async find(name: JobName, call?: StoreCall): Promise<JobRecord | undefined> {
    return JOB_ID.test(name.id) ? this.#jobs.read(recordKey(name), call) : undefined;
  }

  /** Returns a job. Throws `ServeError` (404) if it is unknown or another tenant's. */
  async get(name: JobName): Promise<JobRecord> {
    return (await this.find(name)) ?? notFound(name.id);
  }

  /** Changes a job like `Records.change`. Throws `ServeError` (404) if it is unknown. */
  async change(name: JobName, change: JobChange): Promise<JobRecord> {
    if (!JOB_ID.test(name.id)) notFound(name.id);
    const changed = await this.#jobs.change(recordKey(name), async (now) => {
      const next = change(now);
      return next && this.#withRoom(now, next);
    });
    if (!changed) return notFound(name.id);
    await this.#renewMark(changed);
    return changed;
  }

  /** Shows a job's state in its mark if it has changed, or if the job is leased and the mark is old. */
  async #renewMark(job: JobRecord): Promise<void> {
    const nowMs = this.#clock.now();
    const code = stateCode(job);
    const last = this.#marked.get(job.id);
    if (last?.code === code && (!job.lease || nowMs - last.atMs < MARK_RENEWAL_MS)) return;
    this.#marked.set(job.id, { code, atMs: nowMs });
    // Others then read the record, as they do if a mark is old.
    await this.#store.put(activeKey(job), markOf(job)).catch(() => this.#marked.delete(job.id));
  }

  /** Lists the ids of a tenant's jobs, newest first. */
  async ids(tenant: string): Promise<string[]> {
    return (await listFolders(this.#store, `${tenant}/.jobs/`, JOB_ID)).reverse();
  }

  /**
   * Reads the records of marked jobs. Removes marks without a job. Leaves out jobs with damaged records and reports them to
   * `onDamaged`.
   */
  async readMarked(
    marks: readonly JobName[],
    onDamaged: (job: JobName, error: unknown) => void = () => {},
  ): Promise<JobRecord[]> {
    const jobs = await mapBounded(marks, async (mark) => {
      try {
        return await this.find(mark);
      } catch (error) {
        if (!isDamage(error as Error)) throw error;
        onDamaged(mark, error);
        return 'damaged';
      }
    });
    for (const [i, mark] of marks.entries()) {
      if (jobs[i] === undefined) await this.#foundRecordless(mark);
      else this.#recordless.delete(mark.id);
    }
    return jobs.filter((job) => job !== undefined && job !== 'damaged');
  }

  async #foundRecordless(mark: JobName): Promise<void> {
    const nowMs = this.#clock.now();
    const sinceMs = this.#recordless.get(mark.id) ?? nowMs;
    this.#recordless.set(mark.id, sinceMs);
    if (nowMs - sinceMs <= MAX_CREATION_MS) return;
    await this.removeOpenJobMark(mark);
    this.#recordless.delete(mark.id);
  }

  /** Counts a tenant's unfinished jobs. */
  async countActive(tenant: string): Promise<number> {
    return (await this.marks()).filter((mark) => mark.tenant === tenant).length;
  }

  /** Returns the ids of all unfinished jobs. */
  async activeIds(): Promise<Set<string>> {
    return new Set((await this.marks()).map(({ id }) => id));
  }

  /** Lists the marks of all tenants' unfinished jobs, oldest job first. */
  async marks(): Promise<OpenJobMark[]> {
    const marks: OpenJobMark[] = [];
    for await (const entry of this.#store.list(ACTIVE)) {
      const [, id, tenant] = /^([^.]+)\.(.+)$/.exec(entry.key.slice(ACTIVE.length)) ?? [];
      if (entry.kind !== 'object' || !id || !tenant) continue;
      marks.push({ id, tenant, etag: entry.etag, state: stateOfMark(entry.byteSize) });
    }
    return marks;
  }

  /** Removes the mark of a job that needs no more work. */
  async removeOpenJobMark(name: JobName): Promise<void> {
    await this.#store.delete(activeKey(name));
  }

  /** Lists events before `beforeSeq`, newest first. */
  async events(job: JobRecord, beforeSeq: number, limit: number): Promise<JobEvent[]> {
    const events = job.recentEvents.filter(({ seq }) => seq < beforeSeq).reverse();
    const firstRecent = job.eventCount - job.recentEvents.length;
    const starts = (await this.#batchStarts(job)).filter((seq) => seq < firstRecent);
    for (const start of starts.reverse()) {
      if (events.length >= limit) break;
      if (start >= beforeSeq) continue;
      const batch = await this.#batches.read(batchKey(job, start));
      const older = (batch?.events ?? []).filter(({ seq }) => seq < beforeSeq && seq < firstRecent);
      events.push(...older.reverse());
    }
    return events.slice(0, limit);
  }

  async #batchStarts(job: JobName): Promise<number[]> {
    const prefix = `${folderOf(job)}events/`;
    const starts: number[] = [];
    for await (const { key } of this.#store.list(prefix)) {
      starts.push(Number.parseInt(key.slice(prefix.length), 10));
    }
    return starts;
  }

  /** Moves the record's older events into a batch if there are too many. Writes the batch first, so that none is lost. */
  async #withRoom(now: JobRecord, next: JobRecord): Promise<JobRecord> {
    if (next.recentEvents.length <= MAX_RECENT_EVENTS || now.recentEvents.length === 0) return next;
    const key = batchKey(now, now.recentEvents[0]!.seq);
    const { value } = await this.#batches.create(key, { events: now.recentEvents });
    // Another writer may already have moved some of these events.
    return { ...next, recentEvents: next.recentEvents.slice(value.events.length) };
  }
}

/** A mark's length tells the state, because lists show it; its content only makes two marks differ. */
function markOf(job: JobRecord): Uint8Array {
  return Buffer.from(randomUUID().padEnd(MIN_MARK_BYTES + stateCode(job)));
}

function stateCode({ status, lease }: Pick<JobRecord, 'status' | 'lease'>): number {
  return 2 * JOB_STATUSES.indexOf(status) + Number(lease !== undefined);
}

function stateOfMark(byteSize: number): JobState | undefined {
  const code = byteSize - MIN_MARK_BYTES;
  const status = JOB_STATUSES[Math.floor(code / 2)];
  return status && { status, isLeased: code % 2 === 1 };
}

function notFound(id: string): never {
  const shown = JOB_ID.test(id) ? id : JSON.stringify(id.slice(0, 40));
  const message = `Could not find fine tune: ${shown}`;
  throw new ServeError('not_found', message, { param: 'fine_tuning_job_id' });
}
