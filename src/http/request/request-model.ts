// The model that a request names: which one it is, and how it samples if the request does not say.
import type { Context } from 'hono';
import { readAdapterGenerationConfig } from '../../../adapters/registry/folders.ts';
import type { ResolvedModel } from '../../../adapters/registry/resolved.ts';
import type { GenerationConfig } from '../../contracts/generation-config.ts';
import type { Deps } from '../deps.ts';
import type { HttpEnv } from '../wire/tenant.ts';

/**
 * Resolves the request's `model`, once for all its choices. If an alias is split between versions, the requests of one
 * user or one conversation get the same version; others are spread by their ids.
 */
export function resolveModel(
  c: Context<HttpEnv>,
  { registry }: Pick<Deps, 'registry'>,
  request: { readonly model: string; readonly user?: unknown; readonly prompt_cache_key?: unknown },
): Promise<ResolvedModel> {
  const keys = [request.user, request.prompt_cache_key, c.get('requestId')];
  const sticky = keys.find((key) => typeof key === 'string' && key !== '') as string;
  return registry.resolve(c.get('tenant'), request.model, { sticky });
}

/**
 * Returns the sampling defaults of a model. An adapter inherits those of its base except the repetition penalty, which
 * corrects a habit of the base: adapters are trained and evaluated without one. The adapter's own generation_config.json
 * wins. A composition has no such file.
 */
export async function generationConfigOf(
  { model }: Pick<Deps, 'model'>,
  resolved: ResolvedModel,
): Promise<GenerationConfig> {
  const { generationConfig = {} } = model;
  if (resolved.kind === 'base') return generationConfig;
  const { repetition_penalty: _, ...inherited } = generationConfig;
  const [part] = resolved.parts;
  if (resolved.parts.length > 1) return inherited;
  return { ...inherited, ...(await readAdapterGenerationConfig(part!.location)) };
}

/** The fields that have defaults. */
type SamplingFields = {
  readonly [Name in keyof GenerationConfig]?: number | null | undefined;
} & { readonly max_completion_tokens?: number | null | undefined };

/**
 * Returns the body with defaults for the fields that it leaves out. As in vLLM, `max_tokens` of the defaults is also a
 * limit: a request can ask for fewer tokens but not for more.
 */
export function withSamplingDefaults<Body extends SamplingFields>(
  body: Body,
  { max_tokens: limit, ...defaults }: GenerationConfig,
): Body {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value != null));
  const limited = (name: 'max_tokens' | 'max_completion_tokens') => {
    const requested = body[name];
    return requested != null && limit !== undefined ? { [name]: Math.min(requested, limit) } : {};
  };
  return {
    ...body,
    ...defaults,
    ...given,
    ...limited('max_tokens'),
    ...limited('max_completion_tokens'),
  };
}
