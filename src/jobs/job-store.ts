// Jobs in the store: one record each that changes by compare-and-swap, batches of the events that it has no room for,
// and a mark for each job that is not over, by which servers find work. It decides nothing about jobs.

import type { ObjectStore, StoreCall } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import {
  eventBatchSchema,
  type JobEvent,
  type JobRecord,
  type JobState,
  jobSchema,
} from './job.ts';
import { JOB_ID } from './names.ts';
import { Records } from './records.ts';

/** Events of a record: more are moved into a batch, so that each write stays small. */
const MAX_RECENT_EVENTS = 48;
/** Some hundred events of a run that tells many at once, and its settings. */
const MAX_JOB_BYTES = 4 * 2 ** 20;
const ACTIVE = '.active-jobs/';
/** From a job's mark to its record, whatever clocks say: a mark that is alone for longer was left by a creation that failed. */
const MAX_CREATION_MS = 3_600_000;
const SEQ_DIGITS = 9;

export interface JobName {
  readonly tenant: string;
  readonly id: string;
}

const folderOf = ({ tenant, id }: JobName) => `${tenant}/.jobs/${id}/`;
const recordOf = (of: JobName) => `${folderOf(of)}job.json`;
const batchOf = (of: JobName, seq: number) =>
  `${folderOf(of)}events/${String(seq).padStart(SEQ_DIGITS, '0')}.json`;
const activeOf = ({ tenant, id }: JobName) => `${ACTIVE}${id}.${tenant}`;

/** Keys of what a run needs to go on elsewhere. */
export const runPrefix = (of: JobName): string => `${folderOf(of)}run/`;

export class JobStore {
  readonly #store: ObjectStore;
  readonly #jobs: Records<JobRecord>;
  readonly #batches: Records<{ mark: string; events: JobEvent[] }>;

  readonly #now: () => number;

  /** @param store guarded @param now Unix milliseconds */
  constructor(store: ObjectStore, now: () => number) {
    this.#store = store;
    this.#now = now;
    this.#jobs = new Records(store, { schema: jobSchema, maxBytes: MAX_JOB_BYTES });
    this.#batches = new Records(store, { schema: eventBatchSchema, maxBytes: MAX_JOB_BYTES });
  }

  /** Or the one that is there under this id. Marked as active before it is there, so that no job is overlooked. */
  async create(job: JobState): Promise<JobRecord> {
    await this.#store.put(activeOf(job), new Uint8Array());
    return (await this.#jobs.create(recordOf(job), job)).value;
  }

  async find(of: JobName, call?: StoreCall): Promise<JobRecord | undefined> {
    if (!JOB_ID.test(of.id)) return undefined;
    return (await this.#jobs.read(recordOf(of), call))?.value;
  }

  /** Throws `ServeError` (404), the same for what is unknown and foreign. */
  async get(of: JobName): Promise<JobRecord> {
    return (await this.find(of)) ?? notFound(of.id);
  }

  /** As `Records.change`; the change sees every state that it is applied to. */
  async change(of: JobName, change: (now: JobRecord) => JobState | undefined): Promise<JobRecord> {
    if (!JOB_ID.test(of.id)) notFound(of.id);
    const changed = await this.#jobs.change(recordOf(of), async (now) => {
      const next = change(now);
      return next && this.#withRoom(now, next);
    });
    return changed ?? notFound(of.id);
  }

  /** Ids of a tenant's jobs, the newest first. */
  async ids(tenant: string): Promise<string[]> {
    const prefix = `${tenant}/.jobs/`;
    const ids: string[] = [];
    for await (const entry of this.#store.list(prefix, { delimiter: '/' })) {
      const id = entry.key.slice(prefix.length, -1);
      if (entry.kind === 'folder' && JOB_ID.test(id)) ids.push(id);
    }
    return ids.reverse();
  }

  /** Jobs that are not known to be over, of all tenants, the oldest first. */
  async active(): Promise<JobRecord[]> {
    const marks = await this.#marks();
    const jobs = await mapBounded(marks, async (mark) => {
      const job = await this.find(mark);
      if (!job && mark.ageMs > MAX_CREATION_MS) await this.retire(mark);
      return job;
    });
    return jobs.filter((job) => job !== undefined);
  }

  async countActive(tenant: string): Promise<number> {
    return (await this.#marks()).filter((mark) => mark.tenant === tenant).length;
  }

  async activeIds(): Promise<Set<string>> {
    return new Set((await this.#marks()).map(({ id }) => id));
  }

  async #marks(): Promise<(JobName & { readonly ageMs: number })[]> {
    const marks: (JobName & { ageMs: number })[] = [];
    for await (const entry of this.#store.list(ACTIVE)) {
      const [, id, tenant] = /^([^.]+)\.(.+)$/.exec(entry.key.slice(ACTIVE.length)) ?? [];
      if (entry.kind !== 'object' || !id || !tenant) continue;
      marks.push({ id, tenant, ageMs: this.#now() - entry.modifiedMs });
    }
    return marks;
  }

  /** Nothing of it is to be done any more. */
  async retire(of: JobName): Promise<void> {
    await this.#store.delete(activeOf(of));
  }

  /** Events before `seq`, the newest first. */
  async events(job: JobRecord, beforeSeq: number, limit: number): Promise<JobEvent[]> {
    const events = job.recentEvents.filter(({ seq }) => seq < beforeSeq).reverse();
    const firstRecent = job.eventCount - job.recentEvents.length;
    const starts = (await this.#batchStarts(job)).filter((seq) => seq < firstRecent);
    for (const start of starts.reverse()) {
      if (events.length >= limit) break;
      if (start >= beforeSeq) continue;
      const batch = await this.#batches.read(batchOf(job, start));
      const older = (batch?.value.events ?? []).filter(
        ({ seq }) => seq < beforeSeq && seq < firstRecent,
      );
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

  /** What has been in the record is moved out of it first, so that nothing is told twice or lost. */
  async #withRoom(now: JobRecord, next: JobState): Promise<JobState> {
    if (next.recentEvents.length <= MAX_RECENT_EVENTS || now.recentEvents.length === 0) return next;
    const key = batchOf(now, now.recentEvents[0]!.seq);
    const { value } = await this.#batches.create(key, { events: now.recentEvents });
    // Another writer may have moved fewer of the same.
    return { ...next, recentEvents: next.recentEvents.slice(value.events.length) };
  }
}

function notFound(id: string): never {
  const shown = JOB_ID.test(id) ? id : JSON.stringify(id.slice(0, 40));
  const message = `Could not find fine tune: ${shown}`;
  throw new ServeError('not_found', message, { param: 'fine_tuning_job_id' });
}
