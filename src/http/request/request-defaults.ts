// The fields that an adapter gives to requests which leave them out: a format of answers, and tools.
import { z } from '@hono/zod-openapi';
import { readAdapterRequestDefaults } from '../../../adapters/registry/folders.ts';
import type { ResolvedModel } from '../../../adapters/registry/resolved.ts';
import { ServeError } from '../../common/errors.ts';
import type { Caller } from '../../common/turn-queue.ts';
import type { Constraint } from '../../contracts/generation.ts';
import type { RequestDefaults } from '../../contracts/request-defaults.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { CONSTRAINT_FIELDS, constraintOf } from '../schema/constraints.ts';
import { TOOL_FIELDS } from '../schema/tools.ts';
import { validateBody } from '../wire/route.ts';
import { usableConstraint } from './constraint-check.ts';

/** Defaults as a request's fields are after they were checked. */
export interface CheckedDefaults {
  readonly constraint?: Constraint | undefined;
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

/** Returns the defaults of a model. The base and compositions have none. */
export async function requestDefaultsOf(model: ResolvedModel): Promise<RequestDefaults> {
  if (model.kind === 'base' || model.parts.length > 1) return {};
  return (await readAdapterRequestDefaults(model.parts[0]!.location)) ?? {};
}
