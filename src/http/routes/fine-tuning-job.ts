// /v1/fine_tuning/jobs/{id}: one job, what it has told, its checkpoints, and what its owner may ask of it; and the
// routes of OpenAI's API that are not built.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import {
  errorEnvelopeSchema,
  fineTuningCheckpointListSchema,
  fineTuningEventListSchema,
  fineTuningJobSchema,
} from '../../contracts/openai.ts';
import type { ClientAction } from '../../jobs/job.ts';
import type { JobsSide } from '../deps.ts';
import { addRoute } from '../described-route.ts';
import { toCheckpoint, toEvent, toJob } from '../fine-tuning-answers.ts';
import { toListAnswer } from '../list-answer.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { checkpointListSchema, eventListSchema } from '../schema/fine-tuning.ts';

const PATH = '/v1/fine_tuning/jobs/{id}';

const ACTIONS: Record<ClientAction, string> = {
  cancel: 'End a job; its checkpoints stay',
  pause: 'Let a job rest after the step that it is in',
  resume: 'Let a paused job go on from where it was',
};

export function addFineTuningJobRoutes(
  app: OpenAPIHono<HttpEnv>,
  { service }: Pick<JobsSide, 'service'>,
): void {
  addRoute(app, {
    method: 'get',
    path: PATH,
    summary: 'Get one job',
    answers: { 'application/json': { schema: fineTuningJobSchema } },
    errors: [401, 404, 503],
    handle: async (c) => c.json(toJob(await service.get(c.var.tenant.id, c.req.param('id')!))),
  });
  for (const [action, summary] of Object.entries(ACTIONS) as [ClientAction, string][]) {
    addRoute(app, {
      method: 'post',
      path: `${PATH}/${action}`,
      summary,
      answers: { 'application/json': { schema: fineTuningJobSchema } },
      errors: [400, 401, 404, 503],
      handle: async (c) =>
        c.json(toJob(await service.act(c.var.tenant.id, c.req.param('id')!, action))),
    });
  }
  addRoute(app, {
    method: 'get',
    path: `${PATH}/events`,
    summary: 'List what a job has told, the newest first',
    query: eventListSchema,
    answers: { 'application/json': { schema: fineTuningEventListSchema } },
    errors: [400, 401, 404, 503],
    async handle(c, query) {
      const page = await service.events(c.var.tenant.id, c.req.param('id')!, query);
      return c.json(toListAnswer(page, (event) => toEvent(page.job, event)));
    },
  });
  addRoute(app, {
    method: 'get',
    path: `${PATH}/checkpoints`,
    summary: 'List the checkpoints of a job that can be called, the newest first',
    query: checkpointListSchema,
    answers: { 'application/json': { schema: fineTuningCheckpointListSchema } },
    errors: [400, 401, 404, 503],
    async handle(c, query) {
      const page = await service.checkpoints(c.var.tenant.id, c.req.param('id')!, query);
      return c.json(toListAnswer(page, (checkpoint) => toCheckpoint(page.job, checkpoint)));
    },
  });
  addUnsupportedRoutes(app);
}

const UNSUPPORTED = [
  ['post', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions'],
  ['get', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions'],
  ['delete', '/v1/fine_tuning/checkpoints/{checkpoint}/permissions/{id}'],
  ['post', '/v1/fine_tuning/alpha/graders/run'],
  ['post', '/v1/fine_tuning/alpha/graders/validate'],
] as const;

/** Clients learn that it is no misspelled path. */
function addUnsupportedRoutes(app: OpenAPIHono<HttpEnv>): void {
  for (const [method, path] of UNSUPPORTED) {
    addRoute(app, {
      method,
      path,
      summary: 'Not supported: 400, `unsupported_parameter`',
      answers: { 'application/json': { schema: errorEnvelopeSchema } },
      errors: [400, 401],
      async handle() {
        throw new ServeError('unsupported_parameter', 'This server does not support that.');
      },
    });
  }
}
