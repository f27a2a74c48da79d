// Fills in what a request leaves out: sampling defaults, a format of answers and tools that its model provides.
import { z } from '@hono/zod-openapi';
import {
  readAdapterGenerationConfig,
  readAdapterRequestDefaults,
} from '../../../adapters/registry/folders.ts';
import type { ResolvedModel } from '../../../adapters/registry/resolved.ts';
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { GenerationConfig } from '../../contracts/generation-config.ts';
import type { RequestDefaults } from '../../contracts/request-defaults.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import type { Deps } from '../deps.ts';
import { CONSTRAINT_FIELDS, constraintOf } from '../schema/constraints.ts';
import { TOOL_FIELDS } from '../schema/tools.ts';
import { validateBody } from '../wire/route.ts';
import { type UsableConstraint, usableConstraint } from './constraint-check.ts';

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

/** The names of the limit of an answer's tokens. */
const LIMIT_FIELDS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens'] as const;

/** The fields that have defaults. */
type SamplingFields = {
  readonly [Name in keyof GenerationConfig | (typeof LIMIT_FIELDS)[number]]?:
    | number
    | null
    | undefined;
};

/**
 * Returns the body with defaults for the fields that it leaves out. As in vLLM, `max_tokens` of the defaults is also a
 * limit: a request can ask for fewer tokens but not for more.
 */
export function withSamplingDefaults<Body extends SamplingFields>(
  body: Body,
  { max_tokens: limit, ...defaults }: GenerationConfig,
): Body {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value != null));
  const limited = LIMIT_FIELDS.flatMap((name) => {
    const requested = body[name];
    return requested != null && limit !== undefined ? [[name, Math.min(requested, limit)]] : [];
  });
  return { ...body, ...defaults, ...given, ...Object.fromEntries(limited) };
}

/** An adapter's format and tools as a request's fields are after they were checked. */
export interface CheckedDefaults {
  readonly constraint?: UsableConstraint | undefined;
  readonly tools?: readonly FunctionTool[] | undefined;
}

const schema = z.object({
  response_format: CONSTRAINT_FIELDS.response_format.chat,
  tools: TOOL_FIELDS.tools.chat,
});

/**
 * Checks defaults as if a request had them. Rejects with `ServeError` (`adapter_invalid`) that names the field, and like the check of
 * a request's constraint if that is not compiled.
 */
export async function checkRequestDefaults(
  defaults: RequestDefaults,
  caller?: Caller,
): Promise<CheckedDefaults> {
  try {
    const { tools, ...format } = validateBody(schema, defaults);
    const constraint = await usableConstraint(constraintOf(format), caller);
    return { constraint, tools: tools ?? undefined };
  } catch (error) {
    if (!(error instanceof ServeError) || error.status !== 400) throw error;
    const message = `adapter refused: request_defaults.json: ${error.message}`;
    throw new ServeError('adapter_invalid', message, {
      param: error.param ?? 'request_defaults.json',
      cause: error,
    });
  }
}

/** Returns the format and the tools that a model gives, unchecked. The base and compositions give none. */
export async function requestDefaultsOf(model: ResolvedModel): Promise<RequestDefaults> {
  if (model.kind === 'base' || model.parts.length > 1) return {};
  return (await readAdapterRequestDefaults(model.parts[0]!.location)) ?? {};
}
