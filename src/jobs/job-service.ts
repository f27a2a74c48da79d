// What clients may do with jobs: create, look at, cancel, pause and resume them, in the store. Who runs them is told
// that there is work. Which model a request names has been resolved and allowed before.
import { randomInt } from 'node:crypto';
import { mapBounded } from '../../adapters/repository/bounded.ts';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../errors.ts';
import { mayUseAdapter, type Tenant } from '../tenant.ts';
import type { Files, Page } from './files.ts';
import { jobIdOf, type RepeatedRequest } from './idempotency.ts';
import type { CreateId } from './ids.ts';
import {
  type JobCheckpoint,
  type JobEvent,
  type JobRecord,
  type JobRequest,
  type JobState,
  told,
  type Wish,
  wish,
  withEvents,
} from './job.ts';
import type { JobStore } from './job-store.ts';
import { shortId, toAdapterName } from './names.ts';

export type NewJob = Omit<JobRequest, 'seed'> & { readonly seed?: number | undefined };

export interface JobQuery {
  /** The id that the page before ended with. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** Absent: any; null: those without. */
export type MetadataFilter = Readonly<Record<string, string>> | null | undefined;

export interface JobServiceOptions {
  /** Guarded. */
  readonly store: ObjectStore;
  readonly jobs: JobStore;
  readonly files: Files;
  /** The served base. */
  readonly base: JobRecord['base'];
  /** Of one tenant, that are not over. */
  readonly maxActive: number;
  readonly createId: CreateId;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Somebody may want to act on this job. */
  readonly wake: (jobId: string) => void;
}

/** The largest seed of OpenAI's API. */
const SEED_END = 2 ** 31 - 1;
const PAGE_READS = 32;
/** Jobs take minutes. */
const RETRY_S = 60;
const EVENT_ID = /^ftevent-([A-Za-z0-9]{1,64})-(\d{1,9})$/;

export class JobService {
  readonly #options: JobServiceOptions;

  constructor(options: JobServiceOptions) {
    this.#options = options;
  }

  /** Under an `Idempotency-Key` the job that an earlier request made. */
  async create(owner: Tenant, asked: NewJob, repeated?: RepeatedRequest): Promise<JobRecord> {
    const { store, jobs, createId, now, wake } = this.#options;
    const { id: tenant } = owner;
    const nowMs = now();
    const newId = createId('ftjob');
    checkName(owner, asked.suffix, newId);
    const id = repeated ? await jobIdOf(store, repeated, { tenant, jobId: newId, nowMs }) : newId;
    const known = id === newId ? undefined : await jobs.find({ tenant, id });
    if (known) return known;
    await this.checkFiles(tenant, asked);
    await this.#checkCount(tenant);
    const { base } = this.#options;
    const request = this.settle(asked);
    const job = await jobs.create(newState({ tenant, id, base, request, nowMs }));
    wake(id);
    return job;
  }

  /** With what was left open. */
  settle({ seed = randomInt(SEED_END), ...rest }: NewJob): JobRequest {
    return { ...rest, seed };
  }

  /** Throws `ServeError` where a file is not there or not for this. */
  async checkFiles(
    tenant: string,
    { trainingFile, validationFile }: Pick<NewJob, 'trainingFile' | 'validationFile'>,
  ): Promise<void> {
    const named = [
      ['training_file', trainingFile],
      ['validation_file', validationFile],
    ] as const;
    for (const [param, id] of named) {
      if (id === undefined) continue;
      const { purpose } = await this.#options.files.get(tenant, id).catch((error) => {
        const isMissing = error instanceof ServeError && error.code === 'not_found';
        throw isMissing ? new ServeError('not_found', error.message, { param }) : error;
      });
      if (purpose === 'fine-tune') continue;
      const message = `${param}: its purpose is ${purpose}, not fine-tune`;
      throw new ServeError('invalid_request', message, { param });
    }
  }

  /** Creations at the same moment may each see room for one. */
  async #checkCount(tenant: string): Promise<void> {
    const { jobs, maxActive } = this.#options;
    if ((await jobs.countActive(tenant)) < maxActive) return;
    const message = `There are ${maxActive} jobs already that are not over: wait for them, or cancel some.`;
    throw new ServeError('rate_limit_exceeded', message, { retryAfterS: RETRY_S });
  }

  get(tenant: string, id: string): Promise<JobRecord> {
    return this.#options.jobs.get({ tenant, id });
  }

  /** The newest first. */
  async list(
    tenant: string,
    { after, limit }: JobQuery,
    filter?: MetadataFilter,
  ): Promise<Page<JobRecord>> {
    const { jobs } = this.#options;
    const all = await jobs.ids(tenant);
    const ids = after === undefined ? all : all.filter((id) => id < after);
    const items: JobRecord[] = [];
    for (let start = 0; start < ids.length && items.length <= limit; start += PAGE_READS) {
      const found = await mapBounded(ids.slice(start, start + PAGE_READS), (id) =>
        jobs.find({ tenant, id }),
      );
      items.push(...found.filter((job) => job !== undefined).filter((job) => fits(job, filter)));
    }
    return { items: items.slice(0, limit), hasMore: items.length > limit };
  }

  async wish(tenant: string, id: string, action: Wish): Promise<JobRecord> {
    const { jobs, now, wake } = this.#options;
    const job = await jobs.change({ tenant, id }, (state) => wish(state, action, now()));
    wake(id);
    return job;
  }

  /** The newest first. */
  async events(
    tenant: string,
    id: string,
    { after, limit }: JobQuery,
  ): Promise<Page<JobEvent> & { readonly job: JobRecord }> {
    const job = await this.get(tenant, id);
    const [, , seq] = EVENT_ID.exec(after ?? '') ?? [];
    if (after !== undefined && seq === undefined) {
      throw new ServeError('invalid_request', 'after: is no id of an event', { param: 'after' });
    }
    const before = seq === undefined ? job.eventCount : Number(seq);
    const events = await this.#options.jobs.events(job, before, limit + 1);
    return { job, items: events.slice(0, limit), hasMore: events.length > limit };
  }

  /** The newest first. */
  async checkpoints(
    tenant: string,
    id: string,
    { after, limit }: JobQuery,
  ): Promise<Page<JobCheckpoint> & { readonly job: JobRecord }> {
    const job = await this.get(tenant, id);
    const newest = job.checkpoints.toReversed();
    const start = newest.findIndex(({ step }) => checkpointId(job, step) === after) + 1;
    const items = newest.slice(start, start + limit);
    return { job, items, hasMore: newest.length > start + limit };
  }
}

export function eventId(job: Pick<JobRecord, 'id'>, seq: number): string {
  return `ftevent-${shortId(job.id)}-${String(seq).padStart(9, '0')}`;
}

export function checkpointId(job: Pick<JobRecord, 'id'>, step: number): string {
  return `ftckpt_${shortId(job.id)}${String(step).padStart(9, '0')}`;
}

/** Whoever may not name what comes of a job need not train it. */
function checkName(tenant: Tenant, suffix: string | undefined, id: string): void {
  const name = toAdapterName(suffix, id);
  if (mayUseAdapter(tenant, name)) return;
  const message = `suffix: this key may not use an adapter of the name ${name}`;
  throw new ServeError('invalid_request', message, { param: 'suffix' });
}

interface NewState extends Pick<JobState, 'tenant' | 'id' | 'base' | 'request'> {
  readonly nowMs: number;
}

function newState({ tenant, id, base, request, nowMs }: NewState): JobState {
  const { trainingFile, validationFile } = request;
  const files = `training file: ${trainingFile}${validationFile ? ` and validation file: ${validationFile}` : ''}`;
  const state: JobState = {
    schema: 1,
    id,
    tenant,
    name: toAdapterName(request.suffix, id),
    base,
    createdMs: nowMs,
    status: 'validating_files',
    isPublishing: false,
    request,
    checkpoints: [],
    dropped: [],
    token: 0,
    setbacks: 0,
    eventCount: 0,
    recentEvents: [],
  };
  const events = [told(`Created fine-tuning job: ${id}`), told(`Validating ${files}`)];
  return withEvents(state, events, nowMs);
}

function fits({ request: { metadata = {} } }: JobRecord, filter: MetadataFilter): boolean {
  if (filter === undefined) return true;
  if (filter === null) return Object.keys(metadata).length === 0;
  return Object.entries(filter).every(
    ([key, value]) => Object.hasOwn(metadata, key) && metadata[key] === value,
  );
}
