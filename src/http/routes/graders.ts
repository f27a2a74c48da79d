// /v1/fine_tuning/alpha/graders: checks a grader, or runs it on one output. What a grader asks of a model goes to this server's
// own routes, as requests of the same tenant.
import type { Context } from 'hono';
import type { RunLine } from '../../batches/context.ts';
import { fieldError, ServeError } from '../../common/errors.ts';
import { graderRunSchema, validatedGraderSchema } from '../../contracts/fine-tuning-api.ts';
import { type Graded, grade, PythonError, type RunPython } from '../../graders/grade.ts';
import { callsOf, type Post } from '../../graders/model-calls.ts';
import {
  type Grader,
  graderSchema,
  modelsOf,
  refusePython,
  sourcesOf,
} from '../../graders/schema.ts';
import { toSample } from '../../graders/template.ts';
import type { Deps } from '../deps.ts';
import { runGraderSchema, validateGraderSchema } from '../schema/graders.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';

const PATH = '/v1/fine_tuning/alpha/graders';

/** Adds the routes. */
export function addGraderRoutes(
  app: App,
  { limits, model, python, registry }: Pick<Deps, 'limits' | 'model' | 'python' | 'registry'>,
  runLine: RunLine,
): void {
  addRoute(app, `POST ${PATH}/validate`, {
    summary: 'Check a grader',
    body: { schema: validateGraderSchema, limits },
    response: json(validatedGraderSchema),
    async handle(c, { grader }) {
      const parsed = graderSchema.parse(grader);
      if (!python) refusePython(parsed, 'grader');
      await checkGrader(c, { registry, python }, { grader: parsed, field: 'grader' });
      return { grader };
    },
  });
  addRoute(app, `POST ${PATH}/run`, {
    summary: 'Run a grader on one output',
    body: { schema: runGraderSchema, limits },
    response: json(graderRunSchema),
    async handle(c, { grader, model_sample: output, item }) {
      if (!python) refusePython(grader, 'grader');
      const startMs = performance.now();
      const values = { item, sample: toSample(output) };
      const post = postFor(c, runLine, limits.requestTimeoutMs);
      const { tenant, signal = c.req.raw.signal } = c.var;
      const caller = { tenant: tenant.id, signal };
      const runPython: RunPython | undefined =
        python && ((source, graded) => python.run(source, graded, caller));
      const calls = callsOf(post, { base: model.id, runPython });
      const graded = await grade(grader, values, calls);
      return toRun(grader, graded, (performance.now() - startMs) / 1000);
    },
  });
}

/** A grader in a request. */
interface GivenGrader {
  readonly grader: Grader;
  /** The field of the request that has it. */
  readonly field: string;
}

/**
 * Throws `ServeError` (400) naming the first field with a model that does not exist, or that the tenant may not use, or with a
 * source in Python that does not run.
 */
export async function checkGrader(
  c: Context<HttpEnv>,
  { registry, python }: Pick<Deps, 'registry' | 'python'>,
  { grader, field }: GivenGrader,
): Promise<void> {
  const { tenant, signal = c.req.raw.signal } = c.var;
  const sources = Array.from(sourcesOf(grader), async ([inside, source]) => {
    try {
      await python?.check(source, { tenant: tenant.id, signal });
    } catch (error) {
      if (!(error instanceof PythonError) || error.kind === 'server') throw error;
      throw fieldError(`${field}.${inside}`, error.message);
    }
  });
  const models = Array.from(modelsOf(grader), async ([model, inside]) => {
    try {
      await registry.resolve(tenant, model);
    } catch (error) {
      if (!(error instanceof ServeError) || error.status >= 500) throw error;
      throw fieldError(`${field}.${inside}`, error.message);
    }
  });
  for (const check of await Promise.allSettled([...sources, ...models])) {
    if (check.status === 'rejected') throw check.reason;
  }
}

function toRun(grader: Grader, { reward, scores, errors, tokens }: Graded, seconds: number) {
  const models = Object.keys(tokens);
  const total = Object.values(tokens).reduce((sum, count) => sum + count, 0);
  return {
    reward,
    sub_rewards: grader.type === 'multi' ? scores : {},
    model_grader_token_usage_per_model: tokens,
    metadata: {
      name: grader.name,
      type: grader.type,
      errors,
      execution_time: seconds,
      scores,
      token_usage: models.length > 0 ? total : null,
      sampled_model_name: models[0] ?? null,
    },
  };
}

/** Returns a function that sends requests to this server's routes for the tenant of a request. */
function postFor(c: Context<HttpEnv>, runLine: RunLine, timeoutMs: number): Post {
  return async (url, body) => {
    const { tenant, signal = c.req.raw.signal } = c.var;
    return (await runLine({ tenant, url, body, timeoutMs, signal })).body;
  };
}
