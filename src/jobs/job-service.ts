// Client actions on jobs: create, list, cancel, pause and resume. Changes the store and wakes the worker. The caller has
// resolved the request's model and checked that the tenant may use it.
import { createHash, randomInt } from 'node:crypto';
import { z } from 'zod';
import { Records } from '../../adapters/store/documents.ts';
import { fieldError, ServeError } from '../common/errors.ts';
import { type Page, type PageQuery, pageOf, unknownAfter } from '../common/page.ts';
import type { StepSamples } from '../contracts/step-samples.ts';
import { mayUseAdapter, type Tenant } from '../contracts/tenant.ts';
import type { DatasetParam } from '../rows/file-fault.ts';
import { RowChecks } from './check-rows.ts';
import type { JobsContext } from './context.ts';
import type { FileMeta } from './files.ts';
import {
  applyClientAction,
  type ClientAction,
  type JobCheckpoint,
  type JobEvent,
  type JobRecord,
  type JobRequest,
  messageEvent,
  withEvents,
} from './job.ts';
import { checkpointId, parseEventId, toAdapterName } from './names.ts';

/** A request to create a job. If it has no seed, the service chooses one. */
export type NewJob = Omit<JobRequest, 'seed'> & { readonly seed?: number | undefined };

/** Selects jobs by metadata. Undefined selects all jobs; null selects jobs without metadata. */
export type MetadataFilter = Readonly<Record<string, string>> | null | undefined;

/** The largest seed that OpenAI's API allows. */
const SEED_END = 2 ** 31 - 1;

/** The jobs of all tenants, for clients. */
export class JobService {
  readonly #context: JobsContext;
  readonly #wake: (jobId: string) => void;
  readonly #keyUses: KeyUses;
  readonly #rowChecks: RowChecks;

  /** @param wake tells the worker that this job has changed */
  constructor(context: JobsContext, wake: (jobId: string) => void) {
    this.#context = context;
    this.#wake = wake;
    this.#keyUses = new KeyUses(context);
    this.#rowChecks = new RowChecks(context);
  }

  /**
   * Creates a job, or returns the job that an earlier request with this `Idempotency-Key` created. Throws `ServeError` if
   * the request is wrong, the tenant has too many jobs, or the key was used for another request.
   */
  async create(owner: Tenant, newJob: NewJob, repeated?: RepeatedRequest): Promise<JobRecord> {
    const { id: tenant } = owner;
    const earlier = await this.#findRepeated(tenant, repeated);
    if (earlier) return earlier;
    const { jobs, limits, base, createId, now } = this.#context;
    try {
      await jobs.refuseFrom(limits.maxActive, tenant);
      await this.check(owner, newJob);
      const newId = createId('ftjob');
      const id = repeated ? await this.#keyUses.take(tenant, repeated, newId) : newId;
      const state = newState({ tenant, id, base, request: withSeed(newJob), nowMs: now() });
      const job = await jobs.createBelow(limits.maxActive, state);
      this.#wake(id);
      return job;
    } catch (error) {
      // A concurrent request with this key may have created the very job that exceeds the limit.
      const twin = await this.#findRepeated(tenant, repeated);
      if (twin) return twin;
      throw error;
    }
  }

  async #findRepeated(
    tenant: string,
    repeated: RepeatedRequest | undefined,
  ): Promise<JobRecord | undefined> {
    const id = repeated && (await this.#keyUses.find(tenant, repeated));
    return id === undefined ? undefined : this.#context.jobs.find({ tenant, id });
  }

  /** Throws `ServeError` if the tenant may not use the name or a file, or if the quick check finds wrong rows. */
  async check(
    owner: Tenant,
    { suffix, trainingFile, validationFile, objective = 'supervised' }: NewJob,
  ): Promise<void> {
    const { id: tenant } = owner;
    checkName(owner, suffix, this.#context.createId('ftjob'));
    const named = [
      ['training_file', trainingFile],
      ['validation_file', validationFile],
    ] as const;
    const uploads: [DatasetParam, FileMeta][] = [];
    for (const [param, id] of named) {
      if (id === undefined) continue;
      const meta = await this.#context.files.getUpload(tenant, id, { param, purpose: 'fine-tune' });
      uploads.push([param, meta]);
    }
    for (const [param, meta] of uploads) {
      await this.#rowChecks.check(tenant, meta, { param, objective });
    }
  }

  /** Throws `ServeError` (404) if the job is unknown. */
  get(tenant: string, id: string): Promise<JobRecord> {
    return this.#context.jobs.get({ tenant, id });
  }

  /** Lists jobs, newest first. Leaves out damaged ones. */
  list(tenant: string, query: PageQuery, filter?: MetadataFilter): Promise<Page<JobRecord>> {
    return this.#context.jobs.page(tenant, query, (job) => fits(job, filter));
  }

  /** Cancels, pauses or resumes a job. Throws `ServeError` if the job's status does not allow it. */
  async act(tenant: string, id: string, action: ClientAction): Promise<JobRecord> {
    const { jobs, now } = this.#context;
    const job = await jobs.change({ tenant, id }, (state) =>
      applyClientAction(state, action, now()),
    );
    this.#wake(id);
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
    const events = await this.#context.jobs.events(job, seq, limit + 1);
    return { job, items: events.slice(0, limit), hasMore: events.length > limit };
  }

  /** Lists recorded samples of a job's steps, newest first. `after` is the number of a step. */
  async samples(
    tenant: string,
    id: string,
    { after, limit }: PageQuery,
  ): Promise<Page<StepSamples>> {
    const job = await this.get(tenant, id);
    if (after !== undefined && !/^\d+$/.test(after)) throw unknownAfter();
    const step = after === undefined ? Number.POSITIVE_INFINITY : Number(after);
    const samples = await this.#context.jobs.samples(job, step, limit + 1);
    return { items: samples.slice(0, limit), hasMore: samples.length > limit };
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

/** Refuses a job whose resulting adapter the tenant's key could not use. */
function checkName(tenant: Tenant, suffix: string | undefined, id: string): void {
  const name = toAdapterName(suffix, id);
  if (mayUseAdapter(tenant, name)) return;
  throw fieldError('suffix', `this API key may not use an adapter with the name ${name}`);
}

interface NewJobState extends Pick<JobRecord, 'tenant' | 'id' | 'base' | 'request'> {
  readonly nowMs: number;
}

function newState({ tenant, id, base, request, nowMs }: NewJobState): JobRecord {
  const { trainingFile, validationFile } = request;
  const files = `training file: ${trainingFile}${validationFile ? ` and validation file: ${validationFile}` : ''}`;
  const state: JobRecord = {
    schema: 1,
    id,
    tenant,
    name: toAdapterName(request.suffix, id),
    base: { name: base.name, digest: base.digest },
    createdMs: nowMs,
    status: 'validating_files',
    isPublishing: false,
    request,
    checkpoints: [],
    dropped: [],
    token: 0,
    retries: 0,
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

// `Idempotency-Key`: a request that is repeated within a day returns the job that the first request created. A failed request
// leaves its key unused.

/** A request with an `Idempotency-Key`. */
interface RepeatedRequest {
  /** The key, chosen by the client. */
  readonly key: string;
  /** A hash of the request. */
  readonly body: string;
}

const useSchema = z.object({
  jobId: z.string(),
  body: z.string(),
  /** Unix milliseconds. */
  usedMs: z.int(),
});

type KeyUse = z.infer<typeof useSchema>;

const DAY_MS = 24 * 3600 * 1000;
/** The longest time between taking a key and creating its job. An older key without a job is left over from a failure. */
const MAX_CREATION_MS = 60_000;
const MAX_USE_BYTES = 4096;
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

type KeyContext = Pick<JobsContext, 'store' | 'jobs' | 'now' | 'clock'>;

/** Remembers which job was created under each of a tenant's keys. */
class KeyUses {
  readonly #context: KeyContext;
  readonly #uses: Records<KeyUse>;

  constructor(context: KeyContext) {
    this.#context = context;
    const kind = { schema: useSchema, maxBytes: MAX_USE_BYTES };
    this.#uses = new Records(context.store, kind, context.clock);
  }

  /**
   * Returns the id of the job that this request created earlier, or undefined. Throws `ServeError` (422) if the key belongs to
   * a different request.
   */
  async find(tenant: string, { key, body }: RepeatedRequest): Promise<string | undefined> {
    const use = await this.#uses.read(keyOf(tenant, key));
    if (!use || this.#isOver(use) || !(await this.#hasJob(tenant, use.jobId))) return;
    if (use.body !== sha256(body)) throw isReused();
    return use.jobId;
  }

  /**
   * Takes the key for a new job and returns the job's id. Concurrent identical requests get the same id. Throws `ServeError`:
   * 422 like `find`, or 503 while another request with this key is in progress.
   */
  async take(tenant: string, { key, body }: RepeatedRequest, jobId: string): Promise<string> {
    const { now } = this.#context;
    await this.#sweep(tenant).catch(() => {}); // not a reason to refuse a job; the store has logged it
    const recordKey = keyOf(tenant, key);
    const mine = { jobId, body: sha256(body), usedMs: now() };
    const { value, isNew } = await this.#uses.create(recordKey, mine);
    if (isNew) return jobId;
    const use = await this.#uses.change(recordKey, async (use) => {
      if (this.#isOver(use)) return mine;
      if (use.body === mine.body) return undefined;
      if (await this.#hasJob(tenant, use.jobId)) throw isReused();
      if (now() - use.usedMs < MAX_CREATION_MS) throw new ServeError('overloaded', BUSY);
      return mine;
    });
    return (use ?? value).jobId;
  }

  /** Removes the tenant's expired keys. */
  async #sweep(tenant: string): Promise<void> {
    const { store, now } = this.#context;
    for await (const entry of store.list(folderOf(tenant))) {
      if (entry.kind !== 'object' || now() - entry.modifiedMs <= DAY_MS) continue;
      await store.delete(entry.key);
    }
  }

  async #hasJob(tenant: string, id: string): Promise<boolean> {
    return (await this.#context.jobs.find({ tenant, id })) !== undefined;
  }

  #isOver({ usedMs }: KeyUse): boolean {
    return this.#context.now() - usedMs > DAY_MS;
  }
}

const folderOf = (tenant: string) => `${tenant}/.idempotency/`;
const keyOf = (tenant: string, key: string) => `${folderOf(tenant)}${sha256(key)}`;

function isReused(): ServeError {
  const message = 'This Idempotency-Key was used for a different request. Use a new key.';
  return new ServeError('idempotency_key_reused', message);
}

const BUSY = 'Another request with this Idempotency-Key is in progress. Try again.';
