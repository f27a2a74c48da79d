// The lists of Tinker's protocol: capabilities, training runs and their checkpoints, sessions and samplers.
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { ServeError } from '../../common/errors.ts';
import {
  adapterOfRun,
  aliasOfCheckpoint,
  parseTinkerPath,
  toTinkerPath,
} from '../../contracts/tinker-path.ts';
import type { TinkerCheckpoint, TinkerRun } from '../../contracts/tinker-runs.ts';
import type { RunProgress } from '../../tinker/run-progress.ts';
import type { RunCheckpoint, RunRecord } from '../../tinker/run-record.ts';
import type { FoundCheckpoint } from '../../tinker/runs.ts';
import type { TinkerService } from '../../tinker/tinker-service.ts';
import type { Deps } from '../deps.ts';
import { checkpointQuery, pageQuery, ttlBody, weightsInfoBody } from '../schema/tinker.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { ANY_QUERY, type App, addRoute, json, pathParam, validateBody } from '../wire/route.ts';

/** The routes' common prefix. */
export const TINKER_PREFIX = '/api/v1';
/** An object that clients know. */
export const objectSchema = z.looseObject({}).openapi('TinkerObject');

/** Adds the routes. */
export function addTinkerLists(app: App, deps: Deps, tinker: TinkerService): void {
  addServerRoutes(app, deps, tinker);
  addRunRoutes(app, deps, tinker);
  addSessionLists(app, tinker);
}

/** Adds a GET route. `handle` returns the answer. */
function addGet(
  app: App,
  path: string,
  summary: string,
  handle: (c: Context<HttpEnv>) => object | Promise<object>,
): void {
  addRoute(app, `GET ${TINKER_PREFIX}/${path}`, {
    summary: `Tinker: ${summary}`,
    query: ANY_QUERY,
    response: json(objectSchema),
    errors: [410],
    handle,
  });
}

function addServerRoutes(app: App, { model }: Deps, tinker: TinkerService): void {
  const { baseNames, bounds } = tinker;
  addGet(app, 'healthz', 'whether the server answers', () => ({ status: 'ok' }));
  addGet(app, 'get_server_capabilities', 'the base, by all its names', () => ({
    supported_models: [model.id, ...baseNames].map((model_name) => ({
      model_name,
      max_context_length: bounds.maxLength,
      trainable: true,
      sampleable: true,
    })),
  }));
}

function addRunRoutes(app: App, { limits }: Deps, tinker: TinkerService): void {
  const { runs } = tinker;
  addGet(app, 'training_runs', 'list your training runs, the newest first', async (c) => {
    const page = pageOf(c);
    const found = await runs.list(c.var.tenant.id, page);
    const described = found.runs.map((run) => toRun(run, tinker.progressOf(run)));
    return { training_runs: described, cursor: { ...page, total_count: found.count } };
  });
  addGet(app, 'training_runs/{id}', 'describe a training run, with its losses', async (c) => {
    const run = await runs.find(c.var.tenant.id, pathParam(c, 'id'));
    const progress = tinker.progressOf(run);
    const { lorikeet, ...described } = toRun(run, progress);
    return { ...described, lorikeet: { ...lorikeet, losses: progress.curve.points } };
  });
  addGet(app, 'training_runs/{id}/checkpoints', "list a run's checkpoints", async (c) => {
    const run = await runs.find(c.var.tenant.id, pathParam(c, 'id'));
    return { checkpoints: run.checkpoints.map((one) => toCheckpoint(run, one)), cursor: null };
  });
  addGet(app, 'checkpoints', 'list your checkpoints, by run, the newest first', async (c) => {
    const { after, ...page } = validateBody(checkpointQuery, c.req.query());
    const found = await runs.checkpoints(c.var.tenant.id, { ...page, after });
    const items = found.items.map(({ run, checkpoint }) => toCheckpoint(run, checkpoint));
    // If there are more, the others are not counted: clients only compare the number with the end of the page.
    const total_count = page.offset + items.length + Number(found.hasMore);
    const next = found.hasMore ? found.items.at(-1) : undefined;
    return {
      checkpoints: items,
      cursor: { ...page, total_count, after: next ? toCursor(next) : null },
    };
  });
  addRoute(app, `DELETE ${TINKER_PREFIX}/training_runs/{id}/checkpoints/{folder}/{name}`, {
    summary: 'Tinker: remove a checkpoint',
    response: json(objectSchema),
    async handle(c) {
      await runs.remove(c.var.tenant.id, checkpointOf(c));
      return {};
    },
  });
  addRoute(app, `PUT ${TINKER_PREFIX}/training_runs/{id}/checkpoints/{folder}/{name}/ttl`, {
    summary: 'Tinker: set when a checkpoint expires',
    body: { schema: ttlBody, limits },
    response: json(objectSchema),
    async handle(c, { ttl_seconds = null }) {
      await runs.expire(c.var.tenant.id, checkpointOf(c), ttl_seconds);
      return {};
    },
  });
  addRoute(app, `POST ${TINKER_PREFIX}/weights_info`, {
    summary: 'Tinker: describe the weights of a path',
    body: { schema: weightsInfoBody, limits },
    response: json(objectSchema),
    async handle(c, { tinker_path }) {
      const { run } = await runs.checkpoint(c.var.tenant.id, requirePath(tinker_path));
      return { base_model: run.baseModel, is_lora: true, lora_rank: run.rank };
    },
  });
}

function addSessionLists(app: App, { sessions }: TinkerService): void {
  addGet(app, 'sessions', 'list your sessions, the newest first', (c) => {
    const { offset, limit } = pageOf(c);
    const page = sessions.of(c.var.tenant.id).slice(offset, offset + limit);
    return { sessions: page.map(({ id }) => id) };
  });
  addGet(app, 'sessions/{id}', 'describe a session', (c) => {
    const { models, samplingSessions, metadata } = sessions.find(
      c.var.tenant.id,
      pathParam(c, 'id'),
    );
    return {
      training_run_ids: [...models.keys()],
      sampler_ids: [...samplingSessions.keys()],
      user_metadata: metadata,
    };
  });
  addGet(app, 'samplers/{id}', 'describe a sampler', (c) => {
    const { id, baseModel, modelPath } = sessions.samplingSession(
      c.var.tenant.id,
      pathParam(c, 'id'),
    );
    return { sampler_id: id, base_model: baseModel, model_path: modelPath ?? null };
  });
}

/** Returns the page that a request asks for. */
function pageOf(c: Context<HttpEnv>): z.output<typeof pageQuery> {
  return validateBody(pageQuery, c.req.query());
}

/** Writes the cursor of a checkpoint, as `checkpointQuery` reads it. */
function toCursor({ run, checkpoint }: FoundCheckpoint): string {
  return `${adapterOfRun(run.id)}@${checkpoint.version}`;
}

/** Returns the checkpoint in a route's path. */
function checkpointOf(c: Context<HttpEnv>) {
  const parts = ['id', 'folder', 'name'].map((name) => pathParam(c, name));
  return requirePath(`tinker://${parts.join('/')}`);
}

function requirePath(text: string) {
  const path = parseTinkerPath(text);
  if (path) return path;
  throw new ServeError('not_found', 'Unknown checkpoint.');
}

function toRun(run: RunRecord, { state, curve, changedMs }: RunProgress): TinkerRun {
  const last = (folder: RunCheckpoint['folder']) => {
    const found = run.checkpoints.findLast((one) => one.folder === folder);
    return found ? toCheckpoint(run, found) : null;
  };
  return {
    training_run_id: run.id,
    base_model: run.baseModel,
    model_owner: run.tenant,
    is_lora: true,
    lora_rank: run.rank,
    last_request_time: toTime(changedMs),
    last_checkpoint: last('weights'),
    last_sampler_checkpoint: last('sampler_weights'),
    user_metadata: toTexts(run.metadata),
    lorikeet: { state, steps: curve.steps, loss: curve.points.at(-1)?.[1] ?? null },
  };
}

function toCheckpoint({ id: run }: RunRecord, one: RunCheckpoint): TinkerCheckpoint {
  const { folder, name, version, bytes, createdMs, expiresMs, metadata } = one;
  return {
    checkpoint_id: `${folder}/${name}`,
    checkpoint_type: folder === 'weights' ? 'training' : 'sampler',
    time: toTime(createdMs),
    tinker_path: toTinkerPath({ run, folder, name }),
    size_bytes: bytes,
    public: false,
    user_metadata: toTexts(metadata),
    expires_at: expiresMs === null ? null : toTime(expiresMs),
    lorikeet: { model: `${adapterOfRun(run)}:${aliasOfCheckpoint({ folder, name })}`, version },
  };
}

const toTime = (unixMs: number) => new Date(unixMs).toISOString();

/** Clients accept only texts here, although they send other values. */
function toTexts(metadata: RunRecord['metadata']) {
  if (!metadata) return null;
  const texts = Object.entries(metadata).map(([key, value]) => [
    key,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  return Object.fromEntries(texts);
}
