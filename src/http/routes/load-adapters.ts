// Loads adapters on request. POST /v1/adapters/{name}/prefetch prepares an adapter before requests name it. vLLM's
// /v1/load_lora_adapter and /v1/unload_lora_adapter let an operator serve a folder under a name. A trainer that samples here and
// loads each new adapter also asks /server_info, and pauses the server meanwhile. All of these exist only if the parent folder
// is configured, and need an admin key unless the server has no keys.
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { LoadedAdapters } from '../../../adapters/registry/folder-registry.ts';
import type { FoundAdapter } from '../../../adapters/registry/registry.ts';
import { pinnedName, type ResolvedModel } from '../../../adapters/registry/resolved.ts';
import { fieldError, ServeError } from '../../common/errors.ts';
import { isOneLine } from '../../contracts/adapter-about.ts';
import { prefetchSchema } from '../../contracts/management-api.ts';
import { MAX_RANK } from '../../contracts/training-settings.ts';
import type { Deps } from '../deps.ts';
import { requireReady } from '../generation/admission.ts';
import { prefetchAdapter } from '../request/prefetch.ts';
import { MAX_UNIX_SECONDS } from '../schema/fields.ts';
import { toEnvelope } from '../wire/errors.ts';
import { type HttpEnv, requireAdmin } from '../wire/middleware.ts';
import { type App, addRoute, json, pathParam } from '../wire/route.ts';

/** One day. A client that wants an adapter warm for longer asks again; adapters that clients forget are evicted. */
const MAX_KEEP_WARM_MS = 86_400_000;
const MAX_PATH_LENGTH = 4096;

const prefetchBody = z
  .strictObject({
    keep_warm_until: z
      .int()
      .max(MAX_UNIX_SECONDS)
      .nullish()
      .describe('Unix seconds, at most a day ahead; other adapters are evicted first until then'),
  })
  .openapi('PrefetchRequest');

const loadBody = z
  .strictObject({
    lora_name: z.string(),
    lora_path: z
      .string()
      .min(1)
      .max(MAX_PATH_LENGTH)
      .refine(isOneLine, 'contains a control character')
      .describe('A PEFT folder below the configured one, as an absolute or relative path'),
    load_inplace: z
      .boolean()
      .nullish()
      .describe('Whether a name that is already loaded may get another folder'),
  })
  .openapi('LoadLoraAdapterRequest');

const unloadBody = z.strictObject({ lora_name: z.string() }).openapi('UnloadLoraAdapterRequest');
const plainText = { 'text/plain': { schema: z.string() } };

const serverInfoSchema = z
  .object({
    vllm_config: z.object({
      model_config: z.object({
        model: z.string(),
        dtype: z.string().describe('The type of activations'),
        max_model_len: z.int(),
      }),
      lora_config: z.object({ max_lora_rank: z.int(), max_loras: z.int() }),
      parallel_config: z.object({ data_parallel_size: z.literal(1) }),
    }),
  })
  .openapi('ServerInfo');

/** Adds the prefetch route. */
export function addPrefetchRoute(app: App, deps: Deps): void {
  addRoute(app, 'POST /v1/adapters/{name}/prefetch', {
    params: { name: 'Any form of its name' },
    summary: 'Load an adapter before requests name it',
    body: { schema: prefetchBody, limits: deps.limits, isOptional: true },
    response: json(prefetchSchema),
    admit: () => requireReady(deps),
    async handle(c, { keep_warm_until: until }) {
      const keepWarmMs = until == null ? 0 : toKeepWarmMs(until, deps.now());
      const tenant = c.get('tenant');
      const model = await deps.registry.resolve(tenant, pathParam(c, 'name'));
      const adapter = requireAdapter(model);
      const { signal } = c.req.raw;
      const options = { keepWarmMs, signal, tenant };
      const { tier, loadMs } = await prefetchAdapter(deps, adapter, options);
      return {
        id: adapter.id,
        object: 'adapter.prefetch',
        adapter: adapter.digest,
        root: pinnedName(adapter.parts),
        tier,
        load_ms: Math.round(loadMs ?? 0),
        keep_warm_until: until ?? null,
      };
    },
  });
}

/** Adds the routes that load and unload adapters by path. */
export function addLoadRoutes(app: App, deps: Deps, loaded: LoadedAdapters): void {
  const { limits } = deps;
  const admit = (c: Context<HttpEnv>) => {
    if (!deps.hasOpenAdmin) requireAdmin(c);
    requireReady(deps);
  };
  /** Loads the adapter, so that an unfit one is refused now instead of at its first request. */
  const check = ({ part }: FoundAdapter) => {
    const { name: id, digest } = part;
    return prefetchAdapter(deps, { kind: 'adapter', id, digest, parts: [{ ...part, weight: 1 }] });
  };
  addTrainerRoutes(app, deps, admit);
  addRoute(app, 'POST /v1/load_lora_adapter', {
    summary: 'Serve a local adapter folder under a name until the server ends (admin)',
    body: { schema: loadBody, limits },
    response: plainText,
    admit,
    async handle(c, { lora_name: name, lora_path: folder, load_inplace: mayReplace }) {
      if (loaded.has(name) && !mayReplace) {
        const message = 'lora_name: is already loaded; set load_inplace to replace it';
        return refuseInput(c, message);
      }
      await loaded.load(name, folder, check);
      return c.text(`Success: LoRA adapter '${name}' added successfully.`);
    },
  });
  addRoute(app, 'POST /v1/unload_lora_adapter', {
    summary: 'Stop serving a name that was loaded by path (admin)',
    body: { schema: unloadBody, limits },
    response: plainText,
    admit,
    handle(c, { lora_name: name }) {
      if (!loaded.unload(name)) {
        return refuseInput(c, 'lora_name: cannot be found among the adapters loaded by path');
      }
      return c.text(`Success: LoRA adapter '${name}' removed successfully.`);
    },
  });
}

/** Adds what trainers ask of vLLM next to `/v1/load_lora_adapter`. */
function addTrainerRoutes(app: App, deps: Deps, admit: (c: Context<HttpEnv>) => void): void {
  const { client, model } = deps;
  addRoute(app, 'GET /server_info', {
    query: z.strictObject({ config_format: z.literal('json').optional() }),
    summary:
      'What a trainer asks of vLLM: the types, and how many adapters of which rank are served (admin)',
    response: json(serverInfoSchema),
    admit,
    handle: () => ({
      vllm_config: {
        model_config: {
          model: model.id,
          dtype: 'torch.float32',
          max_model_len: model.maxSeqLength,
        },
        lora_config: { max_lora_rank: MAX_RANK, max_loras: client.model!.slotCount },
        parallel_config: { data_parallel_size: 1 },
      },
    }),
  });
  addRoute(app, 'POST /pause', {
    query: z.strictObject({
      mode: z
        .literal('keep', 'must be keep: running requests wait, and go on after /resume')
        .optional(),
    }),
    summary: 'Take no steps until /resume, at most for five minutes (admin)',
    response: plainText,
    admit,
    handle(c) {
      client.pause.begin();
      return c.text('paused');
    },
  });
  addRoute(app, 'POST /resume', {
    summary: 'End a pause (admin)',
    response: plainText,
    admit,
    handle(c) {
      client.pause.end();
      return c.text('resumed');
    },
  });
}

/** Adds vLLM's form of the error, by which operators like KubeAI see that a repeated load or unload has nothing to do. */
function refuseInput(c: Context<HttpEnv>, message: string): Response {
  const error = new ServeError('invalid_request', message, { param: 'lora_name' });
  const ofVllm = { object: 'error', message, type: 'InvalidUserInput', param: null, code: 400 };
  return c.json({ ...ofVllm, ...toEnvelope(error) }, 400);
}

function toKeepWarmMs(untilS: number, nowMs: number): number {
  const ms = untilS * 1000 - nowMs;
  if (ms > 0 && ms <= MAX_KEEP_WARM_MS) return ms;
  throw fieldError('keep_warm_until', 'must be within a day from now');
}

function requireAdapter(model: ResolvedModel) {
  if (model.kind === 'adapter') return model;
  throw fieldError('name', 'the base is always loaded');
}
