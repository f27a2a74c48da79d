// What a request's `model` stands for, once for the whole request: all its choices get the same version.
import type { Context } from 'hono';
import type { ResolvedModel } from '../../adapters/registry/resolved.ts';
import type { Deps } from './deps.ts';
import type { HttpEnv } from './middleware/tenant.ts';

interface Asked {
  readonly model: string;
  readonly user?: unknown;
  readonly prompt_cache_key?: unknown;
}

/** Requests of one user, or of one conversation, get the same side of a split alias; others are spread by their ids. */
export function resolveModel(
  c: Context<HttpEnv>,
  { registry }: Deps,
  { model, user, prompt_cache_key: conversation }: Asked,
): Promise<ResolvedModel> {
  const given = [user, conversation].find((text) => typeof text === 'string' && text !== '');
  const sticky = (given as string | undefined) ?? c.get('requestId');
  return registry.resolve(c.get('tenant'), model, { sticky });
}
