// Jobs in the store: their records, batches of older events, and samples of steps.

import { ifSound, Records } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { append } from '../common/long-arrays.ts';
import { mapBounded } from '../common/map-bounded.ts';
import type { Clock } from '../common/waiting.ts';
import { JOB_STATUSES } from '../contracts/job-status.ts';
import { type StepSamples, stepSamplesSchema } from '../contracts/step-samples.ts';
import { eventBatchSchema, type JobEvent, type JobRecord, jobSchema } from './job.ts';
import { JOB_ID } from './names.ts';
import { type RecordKind, type RecordName, RecordStore } from './record-store.ts';

/** Older events are moved into a batch, which keeps each write of the record small. */
const MAX_RECENT_EVENTS = 48;
/** Fits a job's settings, and several hundred events if a run reports many between two writes. */
const MAX_JOB_BYTES = 4 * 2 ** 20;
/** Fits 64 completions of 2,000 characters, even if JSON escapes each of them. */
const MAX_SAMPLES_BYTES = 2 ** 20;
const SEQ_DIGITS = 9;

const JOBS: RecordKind<JobRecord> = {
  schema: jobSchema,
  maxBytes: MAX_JOB_BYTES,
  folder: '.jobs',
  file: 'job.json',
  marks: '.active-jobs/',
  statuses: JOB_STATUSES,
  idPattern: JOB_ID,
  plural: 'jobs',
  unknown: { message: 'Could not find fine tune', param: 'fine_tuning_job_id' },
};

/** The prefix of everything that another machine needs to continue the job's run. */
export const runPrefix = ({ tenant, id }: RecordName): string => `${tenant}/.jobs/${id}/run/`;

/** The jobs of all tenants. Methods throw the guarded store's errors. */
export class JobStore extends RecordStore<JobRecord> {
  readonly #batches: Records<{ events: JobEvent[] }>;
  readonly #samples: Records<StepSamples>;

  constructor(store: GuardedStore, clock?: Clock) {
    super(store, JOBS, clock);
    const batchKind = { schema: eventBatchSchema, maxBytes: MAX_JOB_BYTES };
    this.#batches = new Records(store, batchKind, clock);
    const samplesKind = { schema: stepSamplesSchema, maxBytes: MAX_SAMPLES_BYTES };
    this.#samples = new Records(store, samplesKind, clock);
  }

  /** Lists events before `beforeSeq`, newest first. */
  async events(job: JobRecord, beforeSeq: number, limit: number): Promise<JobEvent[]> {
    const events = job.recentEvents.filter(({ seq }) => seq < beforeSeq).reverse();
    const prefix = this.#batchPrefix(job);
    const firstRecent = job.eventCount - job.recentEvents.length;
    const starts = (await this.#numbersBelow(prefix)).filter((seq) => seq < firstRecent);
    for (const start of starts.reverse()) {
      if (events.length >= limit) break;
      if (start >= beforeSeq) continue;
      const batch = await this.#batches.read(keyBelow(prefix, start));
      const older = (batch?.events ?? []).filter(({ seq }) => seq < beforeSeq && seq < firstRecent);
      append(events, older.reverse());
    }
    return events.slice(0, limit);
  }

  /** Stores samples of a step. A step that the job already has keeps its samples. */
  async addSamples(job: RecordName, { step, prompts }: StepSamples): Promise<void> {
    await this.#samples.create(keyBelow(this.#samplesPrefix(job), step), { step, prompts });
  }

  /** Lists samples of the steps before `beforeStep`, newest first. */
  async samples(job: RecordName, beforeStep: number, limit: number): Promise<StepSamples[]> {
    const prefix = this.#samplesPrefix(job);
    const steps = (await this.#numbersBelow(prefix)).filter((step) => step < beforeStep);
    const newest = steps.reverse().slice(0, limit);
    const read = (step: number) => ifSound(this.#samples.read(keyBelow(prefix, step)));
    return (await mapBounded(newest, read)).filter((samples) => samples !== undefined);
  }

  /** Lists the numbers of the objects below a prefix, in ascending order. */
  async #numbersBelow(prefix: string): Promise<number[]> {
    const numbers: number[] = [];
    for await (const { key } of this.store.list(prefix)) {
      numbers.push(Number.parseInt(key.slice(prefix.length), 10));
    }
    return numbers;
  }

  /** Moves the record's older events into a batch if there are too many. Writes the batch first, so that none is lost. */
  protected override async beforeWrite(now: JobRecord, next: JobRecord): Promise<JobRecord> {
    if (next.recentEvents.length <= MAX_RECENT_EVENTS || now.recentEvents.length === 0) return next;
    const key = keyBelow(this.#batchPrefix(now), now.recentEvents[0]!.seq);
    const { value } = await this.#batches.create(key, { events: now.recentEvents });
    // Another writer may already have moved some of these events.
    return { ...next, recentEvents: next.recentEvents.slice(value.events.length) };
  }

  #batchPrefix(job: RecordName): string {
    return `${this.folderOf(job)}events/`;
  }

  #samplesPrefix(job: RecordName): string {
    return `${this.folderOf(job)}samples/`;
  }
}

/** Sorts as the number does. */
function keyBelow(prefix: string, number: number): string {
  return `${prefix}${String(number).padStart(SEQ_DIGITS, '0')}.json`;
}
