// /v1/fine_tuning/jobs: creating jobs, or only planning them, and listing them.
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { type ResolvedModel, rankOf } from '../../../adapters/registry/resolved.ts';
import { ServeError } from '../../common/errors.ts';
import {
  fineTuningJobListSchema,
  fineTuningJobSchema,
  fineTuningPlanSchema,
} from '../../contracts/openai.ts';
import { fromWire, HYPERPARAMETERS } from '../../contracts/training-fields.ts';
import type { JobRequest, JobSettings } from '../../jobs/job.ts';
import type { NewJob } from '../../jobs/job-service.ts';
import type { Deps, JobsSide } from '../deps.ts';
import { addRoute } from '../described-route.ts';
import { toJob, toPlan } from '../fine-tuning-answers.ts';
import { addJsonRoute } from '../json-route.ts';
import { toListAnswer } from '../list-answer.ts';
import { readMetadataFilter } from '../metadata-filter.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import {
  type CreateJobBody,
  createJobSchema,
  type Extension,
  type Hyperparameters,
  jobListSchema,
} from '../schema/fine-tuning.ts';

const PATH = '/v1/fine_tuning/jobs';
/** As other APIs bound it. */
const MAX_KEY_LENGTH = 255;

export function addFineTuningRoutes(app: OpenAPIHono<HttpEnv>, deps: Deps, jobs: JobsSide): void {
  addJsonRoute(app, deps, {
    path: PATH,
    summary: 'Train an adapter on an uploaded file; its model name answers when it has succeeded',
    body: createJobSchema,
    answers: { 'application/json': { schema: fineTuningJobSchema.or(fineTuningPlanSchema) } },
    async handle(c, body) {
      const { tenant } = c.var;
      checkMethod(body.lorikeet, jobs);
      const model = await deps.registry.resolve(tenant, body.model);
      checkRank(body, model, jobs);
      const asked = toNewJob(body, model);
      if (body.lorikeet?.dry_run) return c.json(await dryRun(c, asked, jobs));
      const key = readIdempotencyKey(c);
      const repeated = key === undefined ? undefined : { key, body: JSON.stringify(body) };
      return c.json(toJob(await jobs.service.create(tenant, asked, repeated)));
    },
  });
  addRoute(app, {
    method: 'get',
    path: PATH,
    summary: 'List jobs, the newest first; `metadata[key]=value` finds those that carry it',
    query: jobListSchema,
    answers: { 'application/json': { schema: fineTuningJobListSchema } },
    errors: [400, 401, 503],
    async handle(c, query) {
      const filter = readMetadataFilter(c.req.query());
      const page = await jobs.service.list(c.var.tenant.id, query, filter);
      return c.json(toListAnswer(page, toJob));
    },
  });
}

async function dryRun(c: Context<HttpEnv>, asked: NewJob, { service, dryRuns }: JobsSide) {
  const { tenant } = c.var;
  await service.check(tenant, asked);
  const request: JobRequest = service.settle(asked);
  const plan = await dryRuns.plan({ tenant: tenant.id, request }, c.req.raw.signal);
  return toPlan(request, plan);
}

function readIdempotencyKey(c: Context): string | undefined {
  const key = c.req.header('idempotency-key');
  if (key === undefined || (key.length > 0 && key.length <= MAX_KEY_LENGTH)) return key;
  const message = `Idempotency-Key: must have 1 to ${MAX_KEY_LENGTH} characters`;
  throw new ServeError('invalid_request', message, { param: 'Idempotency-Key' });
}

/** The base decides which it can be. */
function checkMethod(extension: Extension | null | undefined, { method }: JobsSide): void {
  if (!extension?.method || extension.method === method) return;
  const message = `lorikeet.method: the served base allows ${method}`;
  throw new ServeError('unsupported_parameter', message, { param: 'lorikeet.method' });
}

/** A job that goes on with an adapter trains that adapter's rank. */
function checkRank({ lorikeet }: CreateJobBody, model: ResolvedModel, { maxRank }: JobsSide): void {
  const continued = model.kind === 'adapter' ? Math.max(...model.parts.map(rankOf)) : 0;
  const [param, rank] =
    continued > maxRank ? ['model', continued] : ['lorikeet.rank', lorikeet?.rank ?? 0];
  if (rank <= maxRank) return;
  const message = `${param}: rank ${rank}, jobs may have up to ${maxRank} here (--max-job-rank)`;
  throw new ServeError('invalid_request', message, { param });
}

function toNewJob(body: CreateJobBody, model: ResolvedModel): NewJob {
  const inMethod = body.method?.supervised?.hyperparameters;
  const { validation_file: validationFile, suffix, metadata } = body;
  return {
    ...toModel(body.model, model),
    trainingFile: body.training_file,
    ...(validationFile != null && { validationFile }),
    ...(suffix != null && { suffix }),
    seed: body.seed ?? undefined,
    hyperparameters: toHyperparameters(inMethod ?? body.hyperparameters ?? {}),
    settings: body.lorikeet ? toSettings(body.lorikeet) : {},
    ...(metadata != null && { metadata }),
  };
}

/** A published version can be started from: it is on every server, and does not change. */
function toModel(name: string, model: ResolvedModel): Pick<NewJob, 'model' | 'initAdapter'> {
  if (model.kind === 'base') return { model: model.id };
  const [part] = model.parts;
  const { place, owner } = part!;
  if (model.parts.length > 1 || part!.weight !== 1 || place.kind !== 'version') {
    const message = 'model: must be the base or one published adapter';
    throw new ServeError('invalid_request', message, { param: 'model' });
  }
  const { version } = place.manifest;
  return { model: name, initAdapter: { tenant: owner, name: part!.name, version } };
}

function toHyperparameters(requested: Hyperparameters): NewJob['hyperparameters'] {
  return Object.fromEntries(
    HYPERPARAMETERS.map(({ name, field }) => [field, requested[name] ?? 'auto']),
  ) as NewJob['hyperparameters'];
}

function toSettings({ dry_run: _, ...settings }: Extension): JobSettings {
  return fromWire(settings) as JobSettings;
}
