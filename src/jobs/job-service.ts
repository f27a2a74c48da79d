// What clients may do with jobs: create, look at, cancel, pause and resume them, in the store. Who runs them is told
// that there is work. Which model a request names has been resolved and allowed before.
import { randomInt } from 'node:crypto';
import type { ObjectStore } from '../../adapters/store/store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { mayUseAdapter, type Tenant } from '../contracts/tenant.ts';
import type { DatasetParam } from '../rows/file-fault.ts';
import type { RowChecks } from './check-rows.ts';
import type { FileMeta, Files, Page } from './files.ts';
import { KeyUses, type RepeatedRequest } from './idempotency.ts';
import type { CreateId } from './ids.ts';
import {
  applyClientAction,
  type ClientAction,
  type JobCheckpoint,
  type JobEvent,
  type JobRecord,
  type JobRequest,
  type JobState,
  messageEvent,
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
  readonly rowChecks: RowChecks;
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
  readonly #keyUses: KeyUses;

  constructor(options: JobServiceOptions) {
    const { store, jobs, now } = options;
    this.#options = options;
    const hasJob = async (tenant: string, id: string) => Boolean(await jobs.find({ tenant, id }));
    this.#keyUses = new KeyUses({ store, hasJob, now });
  }

  /** Under an `Idempotency-Key` the job that an earlier request made. */
  async create(owner: Tenant, asked: NewJob, repeated?: RepeatedRequest): Promise<JobRecord> {
    const { id: tenant } = owner;
    const known = await this.#findRepeated(tenant, repeated);
    if (known) return known;
    try {
      await this.#checkCount(tenant);
      await this.check(owner, asked);
    } catch (error) {
      // Its twin may have been faster: then that one's job is what there are too many of.
      const twin = await this.#findRepeated(tenant, repeated);
      if (twin) return twin;
      throw error;
    }
    const { jobs, base, createId, now, wake } = this.#options;
    const newId = createId('ftjob');
    const id = repeated ? await this.#keyUses.take(tenant, repeated, newId) : newId;
    const request = this.settle(asked);
    const job = await jobs.create(newState({ tenant, id, base, request, nowMs: now() }));
    wake(id);
    return job;
  }

  async #findRepeated(
    tenant: string,
    repeated: RepeatedRequest | undefined,
  ): Promise<JobRecord | undefined> {
    const id = repeated && (await this.#keyUses.find(tenant, repeated));
    return id === undefined ? undefined : this.#options.jobs.find({ tenant, id });
  }

  /**
   * Throws `ServeError` if the name or a file is not for this tenant, or if a file has wrong rows that are found in a
   * moment.
   */
  async check(owner: Tenant, asked: NewJob): Promise<void> {
    checkName(owner, asked.suffix, this.#options.createId('ftjob'));
    await this.#checkFiles(owner.id, asked);
  }

  /** With what was left open. */
  settle({ seed = randomInt(SEED_END), ...rest }: NewJob): JobRequest {
    return { ...rest, seed };
  }

  async #checkFiles(
    tenant: string,
    { trainingFile, validationFile }: Pick<NewJob, 'trainingFile' | 'validationFile'>,
  ): Promise<void> {
    const named = [
      ['training_file', trainingFile],
      ['validation_file', validationFile],
    ] as const;
    const found: [DatasetParam, FileMeta][] = [];
    for (const [param, id] of named) {
      if (id !== undefined) found.push([param, await this.#findUpload(tenant, id, param)]);
    }
    for (const [param, meta] of found) await this.#options.rowChecks.check(tenant, meta, param);
  }

  /** Throws `ServeError` if the file is not there or not for training. */
  async #findUpload(tenant: string, id: string, param: DatasetParam): Promise<FileMeta> {
    const meta = await this.#options.files.get(tenant, id).catch((error) => {
      const isMissing = error instanceof ServeError && error.code === 'not_found';
      throw isMissing ? new ServeError('not_found', error.message, { param }) : error;
    });
    if (meta.purpose === 'fine-tune') return meta;
    const message = `${param}: its purpose is ${meta.purpose}, not fine-tune`;
    throw new ServeError('invalid_request', message, { param });
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

  /** Cancels, pauses or resumes a job. Throws `ServeError` if that is not possible. */
  async act(tenant: string, id: string, action: ClientAction): Promise<JobRecord> {
    const { jobs, now, wake } = this.#options;
    const job = await jobs.change({ tenant, id }, (state) =>
      applyClientAction(state, action, now()),
    );
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
  const events = [
    messageEvent(`Created fine-tuning job: ${id}`),
    messageEvent(`Validating ${files}`),
  ];
  return withEvents(state, events, nowMs);
}

function fits({ request: { metadata = {} } }: JobRecord, filter: MetadataFilter): boolean {
  if (filter === undefined) return true;
  if (filter === null) return Object.keys(metadata).length === 0;
  return Object.entries(filter).every(
    ([key, value]) => Object.hasOwn(metadata, key) && metadata[key] === value,
  );
}
