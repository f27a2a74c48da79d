// What telemetry is told of one planned answer: names, counts and settings; no text of prompt or answer.
import type { Context } from 'hono';
import { adapterIdentity, type ResolvedAdapter } from '../../adapters/registry/resolved.ts';
import type { RequestObserver } from '../telemetry/request-observer.ts';
import type { ShownAdapter } from '../telemetry/telemetry.ts';
import type { AnswerPlan } from './answer-context.ts';
import type { Deps } from './deps.ts';
import type { HttpEnv } from './middleware/tenant.ts';

export function observeAnswer(
  c: Context<HttpEnv>,
  { telemetry, model: base }: Deps,
  plan: Omit<AnswerPlan, 'adapter'>,
  responseId: string,
): RequestObserver {
  const { endpoint, model, choices } = plan;
  const isAdapter = model.kind === 'adapter';
  const { sampling, maxTokens } = choices[0]!.request;
  return telemetry.observe(c.get('exchange'), {
    operation: endpoint.operation,
    tenant: c.get('tenant').id,
    requestModel: model.id,
    responseModel: isAdapter ? `${base.id}+${model.digest.slice(0, 12)}` : base.id,
    ...(isAdapter ? { adapterDigest: model.digest, adapter: toShown(model) } : {}),
    promptTokens: plan.promptTokens,
    responseId,
    isStream: plan.stream !== undefined,
    choiceCount: choices.length,
    sampling: { ...sampling, maxTokens },
  });
}

/** A composition has as many names as there are weights. */
function toShown({ parts }: ResolvedAdapter): ShownAdapter {
  const key = adapterIdentity(parts);
  const { owner, name } = parts[0]!;
  return { key, owner, name: parts.length > 1 ? 'composition' : name };
}
