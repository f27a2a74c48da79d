// What a request means where it does not say how to sample: the defaults of the model that it names.
import { readAdapterGenerationConfig } from '../../adapters/registry/generation-config.ts';
import type { ResolvedModel } from '../../adapters/registry/resolved.ts';
import type { GenerationConfig } from '../contracts/generation-config.ts';
import type { Deps } from './deps.ts';

/**
 * The defaults of a resolved model. An adapter has its base's, but for the repetition penalty, which makes up for a
 * habit of the base: adapters are trained and evaluated without one. Its own generation_config.json wins. A
 * composition has no file of its own.
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
  return { ...inherited, ...(await readAdapterGenerationConfig(part!.place)) };
}

/** A request's fields that have defaults. */
type SamplingFields = {
  readonly [Name in keyof GenerationConfig]?: number | null | undefined;
} & { readonly max_completion_tokens?: number | null | undefined };

/**
 * The body with the defaults of the fields that it leaves out. As with vLLM, `max_tokens` of the defaults is a limit,
 * too: a request may ask for fewer, and gets no more.
 */
export function withSamplingDefaults<Body extends SamplingFields>(
  body: Body,
  { max_tokens: limit, ...defaults }: GenerationConfig,
): Body {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value != null));
  const limited = (name: 'max_tokens' | 'max_completion_tokens') => {
    const asked = body[name];
    return asked != null && limit !== undefined ? { [name]: Math.min(asked, limit) } : {};
  };
  return {
    ...body,
    ...defaults,
    ...given,
    ...limited('max_tokens'),
    ...limited('max_completion_tokens'),
  };
}
