// Fills in what a request leaves out: sampling defaults, and the response format and tools that its model provides.
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
 * Returns the sampling defaults of a model. An adapter inherits the base's defaults except the repetition penalty, which
 * corrects a habit of the base: adapters are trained and evaluated without one. The adapter's own generation_config.json wins.
 * A composition has no such file.
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

/** The fields that limit the completion's tokens, by endpoint. */
const LIMIT_FIELDS = ['max_tokens', 'max_completion_tokens', 'max_output_tokens'] as const;

/** The sampling fields that can have defaults. */
type SamplingFields = {
  readonly [Name in keyof GenerationConfig | (typeof LIMIT_FIELDS)[number]]?:
    | number
    | null
    | undefined;
};

/**
 * Returns the body, with defaults for the fields that it leaves out. As in vLLM, a default `max_tokens` is also an upper limit.
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

/** An adapter's response format and tools, as the request schema parses them. */
export interface CheckedDefaults {
  readonly constraint?: UsableConstraint | undefined;
  readonly tools?: readonly FunctionTool[] | undefined;
}

const schema = z.object({
  response_format: CONSTRAINT_FIELDS.response_format.chat,
  tools: TOOL_FIELDS.tools.chat,
});

/**
 * Checks an adapter's defaults as if a request had sent them. Rejects with a `ServeError` (`adapter_invalid`) that names the
 * field, and like the constraint check of a request if the constraint is not compiled.
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

/** Returns the response format and the tools that a model provides, unchecked. The base and compositions provide none. */
export async function requestDefaultsOf(model: ResolvedModel): Promise<RequestDefaults> {
  if (model.kind === 'base' || model.parts.length > 1) return {};
  return (await readAdapterRequestDefaults(model.parts[0]!.location)) ?? {};
}
