// /v1/fine_tuning/jobs/{id}: one job with its events and checkpoints, and requests to cancel, pause or resume it. Also refuses
// the fine-tuning routes of OpenAI's API that this server lacks.
import { ServeError } from '../../common/errors.ts';
import {
  errorEnvelopeSchema,
  fineTuningCheckpointListSchema,
  fineTuningEventListSchema,
  fineTuningJobSchema,
} from '../../contracts/openai.ts';
import type { ClientAction } from '../../jobs/job.ts';
import type { JobsSide } from '../deps.ts';
import { checkpointListQuery, eventListQuery } from '../schema/fine-tuning.ts';
import { type App, addRoute, json, pathParam } from '../wire/route.ts';
import { toCheckpoint, toEvent, toJob, toListAnswer } from './api-objects.ts';

const PATH = '/v1/fine_tuning/jobs/{id}';

const ACTIONS: Record<ClientAction, string> = {
  cancel: 'Cancel a job; its checkpoints stay',
  pause: 'Pause a job after its current step',
  resume: 'Resume a paused job',
};

/** Adds the routes. */
export function addFineTuningJobRoutes(app: App, { service }: Pick<JobsSide, 'service'>): void {
  addRoute(app, {
    method: 'get',
    path: PATH,
    summary: 'Get one job',
    answers: json(fineTuningJobSchema),
    errors: [401, 404, 500, 503],
    handle: async (c) => c.json(toJob(await service.get(c.var.tenant.id, pathParam(c, 'id')))),
  });
  for (const [action, summary] of Object.entries(ACTIONS) as [ClientAction, string][]) {
    addRoute(app, {
      method: 'post',
      path: `${PATH}/${action}`,
      summary,
      answers: json(fineTuningJobSchema),
      errors: [400, 401, 404, 500, 503],
      handle: async (c) =>
        c.json(toJob(await service.act(c.var.tenant.id, pathParam(c, 'id'), action))),
    });
  }
  addRoute(app, {
    method: 'get',
    path: `${PATH}/events`,
    summary: 'List the events of a job, the newest first',
    query: eventListQuery,
    answers: json(fineTuningEventListSchema),
    errors: [400, 401, 404, 500, 503],
    async handle(c, query) {
      const page = await service.events(c.var.tenant.id, pathParam(c, 'id'), query);
      return c.json(toListAnswer(page, (event) => toEvent(page.job, event)));
    },
  });
  addRoute(app, {
    method: 'get',
    path: `${PATH}/checkpoints`,
    summary: 'List the checkpoints of a job that can be used as models, the newest first',
    query: checkpointListQuery,
    answers: json(fineTuningCheckpointListSchema),
    errors: [400, 401, 404, 500, 503],
    async handle(c, query) {
      const page = await service.checkpoints(c.var.tenant.id, pathParam(c, 'id'), query);
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

/** Refuses these routes by name, so that clients see that they did not misspell the path. */
function addUnsupportedRoutes(app: App): void {
  for (const [method, path] of UNSUPPORTED) {
    addRoute(app, {
      method,
      path,
      summary: 'Not supported: 400, `unsupported_parameter`',
      answers: json(errorEnvelopeSchema),
      errors: [400, 401],
      handle() {
        throw new ServeError('unsupported_parameter', 'This server does not support this route.');
      },
    });
  }
}
