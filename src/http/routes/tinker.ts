// /api/v1: the protocol of Tinker's client, for training loops that run elsewhere. Requests that compute answer with an id;
// `retrieve_future` waits for its result.
import { randomUUID } from 'node:crypto';
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { fieldError, ServeError } from '../../common/errors.ts';
import type { Tenant } from '../../contracts/tenant.ts';
import { adapterOfRun, parseTinkerPath } from '../../contracts/tinker-path.ts';
import type { TinkerService } from '../../tinker/tinker-service.ts';
import { parsePassRequest } from '../../tinker/wire.ts';
import type { Deps } from '../deps.ts';
import * as bodies from '../schema/tinker.ts';
import { readBytesOfType } from '../wire/body.ts';
import { toServeError } from '../wire/errors.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';
import { addTinkerLists, objectSchema, TINKER_PREFIX } from './tinker-lists.ts';

const PROTOBUF = 'application/x-protobuf';
const PROTOBUF_CONTENT = { [PROTOBUF]: { schema: z.string().openapi({ format: 'binary' }) } };
/** A client sends larger batches in parts of this size, which fit into the limit of a body. */
const PART_BYTES = 400_000;
/** The answer of a request whose result comes later. */
const futureSchema = z.object({ request_id: z.string() }).openapi('TinkerFuture');

/** The dependencies of Tinker's routes. */
interface TinkerDeps extends Deps {
  readonly tinker: TinkerService;
}

/** Adds the routes. */
export function addTinkerRoutes(app: App, shared: Deps, tinker: TinkerService): void {
  const deps = { ...shared, tinker };
  app.use(`${TINKER_PREFIX}/*`, async (c, next) => {
    await tinker.sessions.whenReopened(c.var.tenant.id);
    await next();
  });
  addSessionRoutes(app, deps);
  addTrainingRoutes(app, deps);
  addWeightRoutes(app, deps);
  addCopyRoute(app, deps);
  addSamplingRoutes(app, deps);
  addFutureRoutes(app, deps);
  addTinkerLists(app, deps, tinker);
}

/** Adds a POST route. `handle` returns the answer. */
function addPost<Body>(
  app: App,
  { limits, tinker }: TinkerDeps,
  name: string,
  route: {
    readonly summary: string;
    readonly schema: z.ZodType<Body>;
    readonly response?: z.ZodType;
    handle(c: Context<HttpEnv>, body: Body): object | Promise<object>;
  },
): void {
  const { summary, schema, response = objectSchema, handle } = route;
  addRoute(app, `POST ${TINKER_PREFIX}/${name}`, {
    summary: `Tinker: ${summary}`,
    body: { schema, limits },
    response: json(response),
    handle,
    async onRefused(c, body, error) {
      const target = bodies.targetBody.safeParse(body);
      if (target.success) await tinker.refuse(targetOf(c, target.data), error);
    },
  });
}

function addSessionRoutes(app: App, deps: TinkerDeps): void {
  const { sessions } = deps.tinker;
  addPost(app, deps, 'client/config', {
    summary: 'the settings of clients',
    schema: bodies.anyBody,
    handle: () => ({ fwdbwd_max_chunk_bytes_count: PART_BYTES }),
  });
  addPost(app, deps, 'client/dynamic_config', {
    summary: 'the settings of clients that may change',
    schema: bodies.anyBody,
    handle: () => ({}),
  });
  addPost(app, deps, 'telemetry', {
    summary: 'accepts telemetry and drops it',
    schema: bodies.anyBody,
    handle: () => ({ status: 'accepted' }),
  });
  addPost(app, deps, 'create_session', {
    summary: 'begin a session',
    schema: bodies.createSessionBody,
    async handle(c, { user_metadata }) {
      const { id } = await sessions.begin(c.var.tenant.id, user_metadata ?? null);
      return { type: 'create_session', session_id: id };
    },
  });
  addPost(app, deps, 'session_heartbeat', {
    summary: 'keep a session; without heartbeats it ends after 10 minutes',
    schema: bodies.heartbeatBody,
    handle(c, { session_id: id }) {
      sessions.find(c.var.tenant.id, id);
      return { type: 'session_heartbeat' };
    },
  });
  addPost(app, deps, 'sessions/{id}/finish', {
    summary: 'end a session; what it saved stays',
    schema: bodies.anyBody,
    handle(c) {
      sessions.end(c.var.tenant.id, c.req.param('id')!);
      return {};
    },
  });
}

function addTrainingRoutes(app: App, deps: TinkerDeps): void {
  const { tinker } = deps;
  addPost(app, deps, 'create_model', {
    summary: 'create a model with a new adapter',
    schema: bodies.createModelBody,
    response: futureSchema,
    async handle(c, { session_id, model_seq_id, base_model, lora_config: lora, ...body }) {
      await requireBase(deps, c.var.tenant, base_model);
      const { rank, seed = null, train_mlp, train_attn, train_unembed } = lora;
      const to = { tenant: c.var.tenant.id, sessionId: session_id, number: model_seq_id };
      const request_id = await tinker.createModel(to, {
        baseModel: base_model,
        adapter: {
          rank,
          seed,
          trainsMlp: train_mlp,
          trainsAttention: train_attn,
          trainsHead: train_unembed,
        },
        metadata: body.user_metadata ?? null,
      });
      return { request_id };
    },
  });
  addPost(app, deps, 'get_info', {
    summary: 'describe a model',
    schema: bodies.modelBody,
    async handle(c, { model_id }) {
      const { isCreated } = tinker.sessions.model(c.var.tenant.id, model_id);
      if (!isCreated) throw new ServeError('not_found', 'model_id: is still being created');
      const run = await tinker.runs.find(c.var.tenant.id, model_id);
      return {
        type: 'get_info',
        model_id,
        model_data: { arch: null, model_name: run.baseModel, tokenizer_id: null },
        is_lora: true,
        lora_rank: run.rank,
        model_name: run.baseModel,
      };
    },
  });
  addRoute(app, `POST ${TINKER_PREFIX}/forward_backward`, {
    summary: 'Tinker: compute a loss and add its gradients; the body is a protobuf message',
    content: PROTOBUF_CONTENT,
    response: json(futureSchema),
    async handle(c) {
      const bytes = await readBytesOfType(c.req.raw, PROTOBUF, deps.limits);
      const { modelId, seqId: seq } = parsePassRequest(bytes);
      const to = { tenant: c.var.tenant.id, modelId, seq };
      return { request_id: await tinker.submit(to, { kind: 'pass', bytes }) };
    },
  });
  addPost(app, deps, 'optim_step', {
    summary: 'update a model by its gradients and clear them',
    schema: bodies.optimStepBody,
    response: futureSchema,
    async handle(c, { adam_params, ...body }) {
      const params = adam_params ?? bodies.DEFAULT_ADAM;
      const adam = {
        learningRate: params.learning_rate,
        betas: [params.beta1, params.beta2] as const,
        epsilon: params.eps,
        weightDecay: params.weight_decay,
        maxGradNorm: params.grad_clip_norm,
      };
      return { request_id: await tinker.submit(targetOf(c, body), { kind: 'step', adam }) };
    },
  });
}

function addWeightRoutes(app: App, deps: TinkerDeps): void {
  const { tinker } = deps;
  addPost(app, deps, 'save_weights', {
    summary: 'save a model and the state of its optimizer',
    schema: bodies.saveWeightsBody,
    response: futureSchema,
    async handle(c, { path: name, ttl_seconds, overwrite, user_metadata, ...body }) {
      const saved = { kind: 'save', folder: 'weights', name, overwrite } as const;
      const request = { ...saved, ttlS: ttl_seconds ?? null, metadata: user_metadata ?? null };
      return { request_id: await tinker.submit(targetOf(c, body), request) };
    },
  });
  addPost(app, deps, 'save_weights_for_sampler', {
    summary: 'save a model for sampling',
    schema: bodies.saveForSamplerBody,
    response: futureSchema,
    async handle(c, { path: name, sampling_session_seq_id, ...body }) {
      const to = targetOf(c, body);
      if (name == null) {
        const sampler = sampling_session_seq_id!;
        return { request_id: await tinker.submit(to, { kind: 'sampler', sampler }) };
      }
      const saved = { kind: 'save', folder: 'sampler_weights', name, overwrite: true } as const;
      const { ttl_seconds: ttlS = null, user_metadata: metadata = null } = body;
      return { request_id: await tinker.submit(to, { ...saved, ttlS, metadata }) };
    },
  });
  addPost(app, deps, 'load_weights', {
    summary: 'create a model from a checkpoint, or load one into a model',
    schema: bodies.loadWeightsBody,
    response: futureSchema,
    async handle(c, body) {
      const { path, optimizer: withOptimizer } = body;
      if ('model_id' in body) {
        const request = { kind: 'load', path, withOptimizer, metadata: null } as const;
        return { request_id: await tinker.submit(targetOf(c, body), request) };
      }
      const { session_id: sessionId, model_seq_id: number, user_metadata: metadata = null } = body;
      const to = { tenant: c.var.tenant.id, sessionId, number };
      return { request_id: await tinker.createFrom(to, { path, withOptimizer, metadata }) };
    },
  });
}

function addCopyRoute(app: App, deps: TinkerDeps): void {
  const { tinker } = deps;
  addPost(app, deps, 'copy_weights', {
    summary: 'copy a checkpoint into a new run',
    schema: bodies.copyWeightsBody,
    async handle(c, { source_path, ttl_seconds: ttlS = null }) {
      if (c.req.header('x-tinker-weights-access-token') !== undefined) {
        throw new ServeError('unsupported_parameter', 'weights_access_token: is not supported', {
          param: 'weights_access_token',
        });
      }
      const key = c.req.header('x-idempotency-key') ?? randomUUID();
      const copied = await tinker.copy(c.var.tenant.id, key, { path: source_path, ttlS });
      return { tinker_path: copied };
    },
  });
}

function addSamplingRoutes(app: App, deps: TinkerDeps): void {
  const { tinker } = deps;
  const { sessions } = tinker;
  addPost(app, deps, 'create_sampling_session', {
    summary: 'create a sampler of a checkpoint or of the base',
    schema: bodies.samplingSessionBody,
    async handle(c, { session_id, sampling_session_seq_id: number, ...named }) {
      const session = sessions.find(c.var.tenant.id, session_id);
      const source = await sourceOf(deps, tinker, c.var.tenant, named);
      const { id } = await sessions.addSamplingSession(session, number, source);
      return { type: 'create_sampling_session', sampling_session_id: id };
    },
  });
  addPost(app, deps, 'join_sampling_session', {
    summary: 'number a copy of a sampler',
    schema: bodies.samplingSessionIdBody,
    async handle(c, { sampling_session_id: id }) {
      const client_counter = await sessions.joinSamplingSession(c.var.tenant.id, id);
      return { type: 'join_sampling_session', client_counter };
    },
  });
  addPost(app, deps, 'asample', {
    summary: 'draw samples',
    schema: bodies.sampleBody,
    response: futureSchema,
    async handle(c, { sampling_session_id: samplingSessionId, seq_id, ...body }) {
      const { tenant } = c.var;
      const { model } =
        samplingSessionId == null
          ? await sourceOf(deps, tinker, tenant, body)
          : sessions.samplingSession(tenant.id, samplingSessionId);
      // Without both it cannot be repeated. A client chooses the id of its HTTP request, so that is no unique name.
      const id =
        samplingSessionId == null || seq_id == null
          ? `sample:${randomUUID()}`
          : `${samplingSessionId}:${seq_id}`;
      const request_id = tinker.sample(tenant, id, model, body);
      const ids = Array.from({ length: body.num_samples }, (_, i) => `${request_id}:${i}`);
      return { request_id, sample_sequence_ids: ids };
    },
  });
}

/** Returns the model that a request names. */
function targetOf(
  c: Context<HttpEnv>,
  { model_id: modelId, seq_id: seq }: z.output<typeof bodies.targetBody>,
) {
  return { tenant: c.var.tenant.id, modelId, seq };
}

function addFutureRoutes(app: App, deps: TinkerDeps): void {
  const { tinker } = deps;
  addRoute(app, `POST ${TINKER_PREFIX}/retrieve_future`, {
    summary: 'Tinker: wait for a result, at most 20 s',
    body: { schema: bodies.retrieveBody, limits: deps.limits },
    response: { ...json(objectSchema), ...PROTOBUF_CONTENT },
    async handle(c, { request_id }) {
      const outcome = await tinker.wait(c.var.tenant.id, request_id);
      switch (outcome.kind) {
        case 'pending':
          return { type: 'try_again', request_id, queue_state: 'active' };
        case 'failed': {
          const { message, status } = toServeError(outcome.error, deps.log);
          return { error: message, category: status < 500 ? 'user' : 'server' };
        }
        case 'done':
          return outcome.value instanceof Uint8Array
            ? c.body(new Uint8Array(outcome.value), 200, { 'content-type': PROTOBUF })
            : c.json(outcome.value);
      }
    },
  });
}

/** Throws `ServeError` unless the name is the base's. */
async function requireBase({ registry, model }: Deps, tenant: Tenant, name: string): Promise<void> {
  const resolved = await registry.resolve(tenant, name).catch(() => undefined);
  if (resolved?.kind === 'base') return;
  const param = 'base_model';
  const message = `${param}: this server trains ${model.id}. Use that name, or ask the operator for an alias (--base-alias).`;
  throw new ServeError('model_not_found', message, { param });
}

/** Returns the model that a sampler's request names. */
async function sourceOf(
  deps: Deps,
  { runs }: TinkerService,
  tenant: Tenant,
  { model_path, base_model }: Pick<z.output<typeof bodies.sampleBody>, 'model_path' | 'base_model'>,
) {
  if (model_path == null) {
    await requireBase(deps, tenant, base_model ?? '');
    return { model: 'base', baseModel: base_model!, modelPath: undefined };
  }
  const path = parseTinkerPath(model_path);
  if (!path) throw fieldError('model_path', 'is not a path of a checkpoint');
  const { run, checkpoint } = await runs.checkpoint(tenant.id, path);
  const model = `${adapterOfRun(path.run)}@${checkpoint.version}`;
  return { model, baseModel: run.baseModel, modelPath: model_path };
}
