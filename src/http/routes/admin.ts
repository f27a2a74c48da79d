// vLLM's /v1/load_lora_adapter and /v1/unload_lora_adapter: an operator's, who gives a path below one folder. They are
// there only if that folder is configured. They answer to admin keys, and to anyone on loopback without a keys file.
import { type OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { LoadedAdapters } from '../../../adapters/registry/folder-registry.ts';
import type { FoundAdapter } from '../../../adapters/registry/registry.ts';
import { ServeError } from '../../common/errors.ts';
import { requireReady } from '../answer.ts';
import type { Deps } from '../deps.ts';
import { addJsonRoute } from '../json-route.ts';
import { type HttpEnv, requireAdmin } from '../middleware/tenant.ts';
import { prefetchAdapter } from '../prefetch.ts';

const MAX_PATH_LENGTH = 4096;

const loadSchema = z
  .strictObject({
    lora_name: z.string(),
    lora_path: z
      .string()
      .min(1)
      .max(MAX_PATH_LENGTH)
      .regex(/^\P{Cc}*$/u, 'holds a control character')
      .openapi({
        description:
          'A PEFT folder below the one that the server was told of, absolute or relative',
      }),
    load_inplace: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether a name that is loaded already may get another folder' }),
  })
  .openapi('LoadLoraAdapterRequest');

const unloadSchema = z.strictObject({ lora_name: z.string() }).openapi('UnloadLoraAdapterRequest');
const answers = { 'text/plain': { schema: z.string() } };

export function addAdminRoutes(
  app: OpenAPIHono<HttpEnv>,
  deps: Deps,
  loaded: LoadedAdapters,
): void {
  const admit = (c: Context<HttpEnv>) => {
    if (!deps.hasOpenAdmin) requireAdmin(c);
    requireReady(deps);
  };
  /** What does not fit is refused now, not at the first request. */
  const check = ({ part }: FoundAdapter) => {
    const { name: id, digest } = part;
    return prefetchAdapter(deps, {
      kind: 'adapter',
      id,
      digest,
      parts: [{ ...part, weight: 1 }],
    });
  };
  addJsonRoute(app, deps, {
    path: '/v1/load_lora_adapter',
    summary: 'Serve a local adapter folder under a name, until the server ends (admin)',
    body: loadSchema,
    answers,
    admit,
    async handle(c, { lora_name: name, lora_path: place, load_inplace: mayReplace }) {
      if (loaded.has(name) && !mayReplace) {
        const message = 'lora_name: is loaded already; with load_inplace it is replaced';
        throw new ServeError('invalid_request', message, { param: 'lora_name' });
      }
      await loaded.load(name, place, check);
      return c.text(`Success: LoRA adapter '${name}' added successfully.`);
    },
  });
  addJsonRoute(app, deps, {
    path: '/v1/unload_lora_adapter',
    summary: 'End serving a name that was loaded by path (admin)',
    body: unloadSchema,
    answers,
    admit,
    async handle(c, { lora_name: name }) {
      if (!loaded.unload(name)) {
        const message = 'lora_name: no adapter of that name was loaded by path';
        throw new ServeError('not_found', message, { param: 'lora_name' });
      }
      return c.text(`Success: LoRA adapter '${name}' removed successfully.`);
    },
  });
}
