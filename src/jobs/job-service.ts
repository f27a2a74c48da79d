// The actions of clients on jobs: create, list, cancel, pause and resume. It changes the store and wakes the worker. The
// caller has resolved the request's model and checked that the tenant may use it.

import { randomInt } from 'node:crypto';
import { ifSound } from '../../adapters/store/documents.ts';
import type { GuardedStore } from '../../adapters/store/guarded-store.ts';
import { ServeError } from '../common/errors.ts';
import { mapBounded } from '../common/map-bounded.ts';
import { type Page, type PageQuery, pageOf, unknownAfter } from '../common/page.ts';
import type { Clock } from '../common/waiting.ts';
import { mayUseAdapter, type Tenant } from '../contracts/tenant.ts';
import type { DatasetParam } from '../rows/file-fault.ts';
import type { RowChecks } from './check-rows.ts';
import type { FileMeta, Files } from './files.ts';
import { KeyUses, type RepeatedRequest } from './idempotency.ts';
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
import { type CreateId, checkpointId, parseEventId, toAdapterName } from './names.ts';

/** A request to create a job. Without a seed the service chooses one. */
export type NewJob = Omit<JobRequest, 'seed'> & { readonly seed?: number | undefined };

/** Selects jobs with this metadata. Undefined selects all jobs; null selects jobs without metadata. */
export type MetadataFilter = Readonly<Record<string, string>> | null | undefined;

/** Settings of a `JobService`. */
export interface JobServiceOptions {
  readonly store: GuardedStore;
  readonly jobs: JobStore;
  readonly files: Files;
  readonly rowChecks: RowChecks;
  /** The served base. */
  readonly base: JobRecord['base'];
  /** Jobs of one tenant that are not over. */
  readonly maxActive: number;
  readonly createId: CreateId;
  /** Unix milliseconds. */
  readonly now: () => number;
  readonly clock: Clock;
  /** Tells the worker that this job has changed. */
  readonly wake: (jobId: string) => void;
}

/** The largest seed of OpenAI's API. */
const SEED_END = 2 ** 31 - 1;
const PAGE_READS = 32;
/** A job takes minutes, so a quicker retry is useless. */
const RETRY_S = 60;

/** The jobs of all tenants, for clients. */
export class JobService {
  readonly #options: JobServiceOptions;
  readonly #keyUses: KeyUses;

  constructor(options: JobServiceOptions) {
    const { store, jobs, now, clock } = options;
    this.#options = options;
    const hasJob = async (tenant: string, id: string) => Boolean(await jobs.find({ tenant, id }));
    this.#keyUses = new KeyUses({ store, hasJob, now, clock });
  }

  /**
   * Creates a job, or returns the job that an earlier request with this `Idempotency-Key` created. Throws `ServeError` if
   * the request is wrong, the tenant has too many jobs, or the key was used for another request.
   */
  async create(owner: Tenant, newJob: NewJob, repeated?: RepeatedRequest): Promise<JobRecord> {
    const { id: tenant } = owner;
    const known = await this.#findRepeated(tenant, repeated);
    if (known) return known;
    try {
      await this.#checkCount(tenant);
      await this.check(owner, newJob);
    } catch (error) {
      // A concurrent request with this key may have created the job that is now one too many.
      const twin = await this.#findRepeated(tenant, repeated);
      if (twin) return twin;
      throw error;
    }
    const { jobs, base, createId, now, wake } = this.#options;
    const newId = createId('ftjob');
    const id = repeated ? await this.#keyUses.take(tenant, repeated, newId) : newId;
    const request = withSeed(newJob);
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
   * Throws `ServeError` if the tenant may not use the name or a file, or if a quick check finds wrong rows in a file.
   */
  async check(owner: Tenant, newJob: NewJob): Promise<void> {
    checkName(owner, newJob.suffix, this.#options.createId('ftjob'));
    await this.#checkFiles(owner.id, newJob);
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

  /** Throws `ServeError` if the file does not exist or is not for training. */
  async #findUpload(tenant: string, id: string, param: DatasetParam): Promise<FileMeta> {
    const meta = await this.#options.files.get(tenant, id).catch((error) => {
      const isMissing = error instanceof ServeError && error.code === 'not_found';
      throw isMissing ? new ServeError('not_found', error.message, { param }) : error;
    });
    if (meta.purpose === 'fine-tune') return meta;
    const message = `${param} has the purpose ${meta.purpose}. Upload it again with the purpose fine-tune.`;
    throw new ServeError('invalid_request', message, { param });
  }

  /** Concurrent requests may each see room for one more. */
  async #checkCount(tenant: string): Promise<void> {
    const { jobs, maxActive } = this.#options;
    if ((await jobs.countActive(tenant)) < maxActive) return;
    const message = `You have ${maxActive} unfinished jobs, which is the limit. Wait for one to finish, or cancel one.`;
    throw new ServeError('rate_limit_exceeded', message, { retryAfterS: RETRY_S });
  }

  /** Throws `ServeError` (404) if the job is unknown. */
  get(tenant: string, id: string): Promise<JobRecord> {
    return this.#options.jobs.get({ tenant, id });
  }

  /** Lists jobs, newest first, without damaged ones. */
  async list(
    tenant: string,
    { after, limit }: PageQuery,
    filter?: MetadataFilter,
  ): Promise<Page<JobRecord>> {
    const { jobs } = this.#options;
    const all = await jobs.ids(tenant);
    if (after !== undefined && !all.includes(after)) throw unknownAfter();
    const ids = after === undefined ? all : all.slice(all.indexOf(after) + 1);
    const items: JobRecord[] = [];
    for (let start = 0; start < ids.length && items.length <= limit; start += PAGE_READS) {
      const found = await mapBounded(ids.slice(start, start + PAGE_READS), (id) =>
        ifSound(jobs.find({ tenant, id })),
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

  /** Lists a job's events, newest first. */
  async events(
    tenant: string,
    id: string,
    { after, limit }: PageQuery,
  ): Promise<Page<JobEvent> & { readonly job: JobRecord }> {
    const job = await this.get(tenant, id);
    const seq = after === undefined ? job.eventCount : parseEventId(job, after);
    if (seq === undefined) throw unknownAfter();
    const events = await this.#options.jobs.events(job, seq, limit + 1);
    return { job, items: events.slice(0, limit), hasMore: events.length > limit };
  }

  /** Lists a job's checkpoints, newest first. */
  async checkpoints(
    tenant: string,
    id: string,
    query: PageQuery,
  ): Promise<Page<JobCheckpoint> & { readonly job: JobRecord }> {
    const job = await this.get(tenant, id);
    const newest = job.checkpoints.toReversed();
    return { job, ...pageOf(newest, query, ({ step }) => checkpointId(job, step)) };
  }
}

/** Refuses a job whose adapter the tenant's key could not use. */
function checkName(tenant: Tenant, suffix: string | undefined, id: string): void {
  const name = toAdapterName(suffix, id);
  if (mayUseAdapter(tenant, name)) return;
  const message = `suffix: this API key may not use an adapter with the name ${name}`;
  throw new ServeError('invalid_request', message, { param: 'suffix' });
}

interface NewJobState extends Pick<JobState, 'tenant' | 'id' | 'base' | 'request'> {
  readonly nowMs: number;
}

function newState({ tenant, id, base, request, nowMs }: NewJobState): JobState {
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

/** Fills in a random seed if the request has none. */
export function withSeed({ seed = randomInt(SEED_END), ...rest }: NewJob): JobRequest {
  return { ...rest, seed };
}

function fits({ request: { metadata = {} } }: JobRecord, filter: MetadataFilter): boolean {
  if (filter === undefined) return true;
  if (filter === null) return Object.keys(metadata).length === 0;
  return Object.entries(filter).every(
    ([key, value]) => Object.hasOwn(metadata, key) && metadata[key] === value,
  );
}
