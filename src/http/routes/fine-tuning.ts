// /v1/fine_tuning/jobs: creates a job or only plans it, lists jobs, their events and checkpoints, and cancels, pauses and resumes
// them.
import type { Context } from 'hono';
import { parseModelName } from '../../../adapters/registry/model-name.ts';
import { type ResolvedModel, rankOfPart } from '../../../adapters/registry/resolved.ts';
import { fieldError, ServeError } from '../../common/errors.ts';
import { largest } from '../../common/long-arrays.ts';
import {
  fineTuningCheckpointListSchema,
  fineTuningEventListSchema,
  fineTuningJobListSchema,
  fineTuningJobSchema,
  fineTuningSamplesListSchema,
} from '../../contracts/fine-tuning-api.ts';
import { fineTuningPlanSchema } from '../../contracts/management-api.ts';
import type { Objective } from '../../contracts/preference-settings.ts';
import { fromWire, hyperparametersOf } from '../../contracts/training-fields.ts';
import { graderSchema } from '../../graders/schema.ts';
import type { ClientAction, JobRequest, JobSettings } from '../../jobs/job.ts';
import { type NewJob, withSeed } from '../../jobs/job-service.ts';
import type { Deps, JobsSide } from '../deps.ts';
import { usableConstraint } from '../request/constraint-check.ts';
import {
  type CreateJobBody,
  checkpointListQuery,
  createJobSchema,
  type Extension,
  eventListQuery,
  type Hyperparameters,
  jobListQuery,
  readMetadataFilter,
  samplesListQuery,
} from '../schema/fine-tuning.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json, ownId } from '../wire/route.ts';
import { toCheckpoint, toEvent, toJob, toListResponse, toPlan, toSamples } from './api-objects.ts';
import { checkGrader } from './graders.ts';

const PATH = '/v1/fine_tuning/jobs';
/** The usual maximum in other APIs. */
const MAX_KEY_LENGTH = 255;

/** Adds the routes. */
export function addFineTuningRoutes(app: App, deps: Deps, jobs: JobsSide): void {
  addRoute(app, `POST ${PATH}`, {
    summary:
      'Train an adapter on an uploaded file; it can be used as a model when the job has succeeded',
    body: { schema: createJobSchema, limits: deps.limits },
    response: json(fineTuningJobSchema.or(fineTuningPlanSchema)),
    async handle(c, body) {
      const { tenant } = c.var;
      checkMethod(body.lorikeet, jobs);
      const model = await deps.registry.resolve(tenant, body.model);
      checkRank(body, model, jobs);
      const newJob = toNewJob(body, model);
      await jobs.checkSettings(withSeed(newJob));
      await checkFormat(c, body);
      await checkReward(c, body, deps);
      if (body.lorikeet?.dry_run) return await dryRun(c, newJob, jobs);
      const key = readIdempotencyKey(c);
      const repeated = key === undefined ? undefined : { key, body: JSON.stringify(body) };
      return toJob(await jobs.service.create(tenant, newJob, repeated));
    },
  });
  addRoute(app, `GET ${PATH}`, {
    summary: 'List jobs, the newest first; `metadata[key]=value` selects jobs by their metadata',
    query: jobListQuery,
    response: json(fineTuningJobListSchema),
    async handle(c, query) {
      const filter = readMetadataFilter(query);
      const page = await jobs.service.list(c.var.tenant.id, query, filter);
      return toListResponse(page, toJob);
    },
  });
  addJobRoutes(app, jobs);
}

async function dryRun(c: Context<HttpEnv>, newJob: NewJob, { service, dryRuns }: JobsSide) {
  const { tenant } = c.var;
  await service.check(tenant, newJob);
  const request: JobRequest = withSeed(newJob);
  const plan = await dryRuns.plan({ tenant: tenant.id, request }, c.req.raw.signal);
  return toPlan(request, plan);
}

function readIdempotencyKey(c: Context): string | undefined {
  const key = c.req.header('idempotency-key');
  if (key === undefined || (key.length > 0 && key.length <= MAX_KEY_LENGTH)) return key;
  throw fieldError('Idempotency-Key', `must have 1 to ${MAX_KEY_LENGTH} characters`);
}

/** Throws `ServeError` if the served base can't be trained by the requested method. */
function checkMethod(extension: Extension | null | undefined, { method }: JobsSide): void {
  if (!extension?.method || extension.method === method) return;
  const message = `lorikeet.method: the served base allows ${method}`;
  throw new ServeError('unsupported_parameter', message, { param: 'lorikeet.method' });
}

/** Throws `ServeError` if completions cannot be made to match the format. */
async function checkFormat(c: Context<HttpEnv>, { method }: CreateJobBody): Promise<void> {
  const given = method?.reinforcement?.response_format?.given;
  if (!given) return;
  const path = ['method', 'reinforcement', 'response_format', ...(given.path ?? [])];
  const caller = { tenant: c.var.tenant.id, signal: c.req.raw.signal };
  await usableConstraint({ ...given, path }, caller);
}

/** Throws `ServeError` if the job's grader cannot run. */
async function checkReward(
  c: Context<HttpEnv>,
  { method }: CreateJobBody,
  deps: Deps,
): Promise<void> {
  const given = method?.reinforcement?.grader;
  if (given === undefined) return;
  const grader = graderSchema.parse(given);
  await checkGrader(c, deps, { grader, field: 'method.reinforcement.grader' });
}

/** Throws `ServeError` if the rank is too high. A job that continues an adapter keeps that adapter's rank. */
function checkRank({ lorikeet }: CreateJobBody, model: ResolvedModel, { maxRank }: JobsSide): void {
  const continued = model.kind === 'adapter' ? largest(model.parts.map(rankOfPart)) : 0;
  const [param, rank] =
    continued > maxRank ? ['model', continued] : ['lorikeet.rank', lorikeet?.rank ?? 0];
  if (rank <= maxRank) return;
  throw fieldError(param, `rank ${rank} is over the limit of ${maxRank} (--max-job-rank)`);
}

function toNewJob(body: CreateJobBody, model: ResolvedModel): NewJob {
  const objective = body.method?.type ?? 'supervised';
  const inMethod = body.method?.[objective]?.hyperparameters;
  const { grader, response_format: format } = body.method?.reinforcement ?? {};
  const { validation_file: validationFile, suffix, metadata } = body;
  return {
    ...toModel(body.model, model),
    trainingFile: body.training_file,
    ...(validationFile != null && { validationFile }),
    ...(suffix != null && { suffix }),
    seed: body.seed ?? undefined,
    ...(objective !== 'supervised' && { objective }),
    hyperparameters: toHyperparameters(objective, inMethod ?? body.hyperparameters ?? {}),
    ...(grader !== undefined && { grader: grader as Record<string, unknown> }),
    ...(format && { responseFormat: format.json }),
    settings: body.lorikeet ? toSettings(body.lorikeet) : {},
    ...(metadata != null && { metadata }),
  };
}

/** Words for the base that are no names of it. */
const isBaseWord = (name: string) => name === 'base' || name === 'default';

/** Resolves the version that a job starts from. Published versions never change, and every server can read them. */
function toModel(
  name: string,
  model: ResolvedModel,
): Pick<NewJob, 'model' | 'initAdapter' | 'baseAlias'> {
  if (model.kind === 'base')
    return { model: model.id, ...(!isBaseWord(name) && { baseAlias: name }) };
  const [part] = model.parts;
  const { location, owner } = part!;
  if (model.parts.length > 1 || part!.weight !== 1 || location.kind !== 'version') {
    throw fieldError('model', 'must be the base or one published adapter');
  }
  const { version } = location.manifest;
  const named = parseModelName(name);
  const origin = named?.kind === 'adapters' ? named.terms[0]!.adapter.origin : undefined;
  return {
    model: name,
    ...(origin && !isBaseWord(origin.base) && { baseAlias: origin.base }),
    initAdapter: { tenant: owner, name: part!.name, version },
  };
}

function toHyperparameters(
  objective: Objective,
  requested: Hyperparameters,
): NewJob['hyperparameters'] {
  return Object.fromEntries(
    hyperparametersOf(objective).map(({ name, field, absent }) => [
      field,
      requested[name] ?? absent,
    ]),
  );
}

function toSettings({ dry_run: _, ...settings }: Extension): JobSettings {
  return fromWire(settings) as JobSettings;
}

const JOB = `${PATH}/{id}`;

const ACTIONS: Record<ClientAction, string> = {
  cancel: 'Cancel a job; its checkpoints stay',
  pause: 'Pause a job after its current step',
  resume: 'Resume a paused job',
};

function addJobRoutes(app: App, { service }: JobsSide): void {
  addRoute(app, `GET ${JOB}`, {
    summary: 'Get one job',
    response: json(fineTuningJobSchema),
    handle: async (c) => toJob(await service.get(...ownId(c))),
  });
  for (const [action, summary] of Object.entries(ACTIONS) as [ClientAction, string][]) {
    addRoute(app, `POST ${JOB}/${action}`, {
      summary,
      response: json(fineTuningJobSchema),
      handle: async (c) => toJob(await service.act(...ownId(c), action)),
    });
  }
  addRoute(app, `GET ${JOB}/events`, {
    summary: 'List the events of a job, the newest first',
    query: eventListQuery,
    response: json(fineTuningEventListSchema),
    async handle(c, query) {
      const page = await service.events(...ownId(c), query);
      return toListResponse(page, (event) => toEvent(page.job, event));
    },
  });
  addRoute(app, `GET ${JOB}/samples`, {
    summary: 'List recorded samples of a reinforcement job by step, the newest first',
    query: samplesListQuery,
    response: json(fineTuningSamplesListSchema),
    handle: async (c, query) =>
      toListResponse(await service.samples(...ownId(c), query), toSamples),
  });
  addRoute(app, `GET ${JOB}/checkpoints`, {
    summary: 'List the checkpoints of a job that can be used as models, the newest first',
    query: checkpointListQuery,
    response: json(fineTuningCheckpointListSchema),
    async handle(c, query) {
      const page = await service.checkpoints(...ownId(c), query);
      return toListResponse(page, (checkpoint) => toCheckpoint(page.job, checkpoint));
    },
  });
}
