// Answers a planned generation, whole or as a stream. The status of a stream is decided when the engine has begun with the
// first choice or refused: a fault before that is an ordinary error, a later one ends the stream without [DONE].
import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import { ServeError } from '../common/errors.ts';
import { createStreamDecoder } from '../tokenizer/stream-decoder.ts';
import { type AnswerContext, type AnswerPlan, logUsage } from './answer-context.ts';
import { streamAnswer } from './answer-stream.ts';
import { wholeAnswer } from './answer-whole.ts';
import type { Deps } from './deps.ts';
import { type HttpEnv, reserveTokens } from './middleware/tenant.ts';
import { observeAnswer } from './observe-answer.ts';

/** Where an adapter's files changed or went since they were looked at, they are looked at once more. */
export async function answer(c: Context<HttpEnv>, deps: Deps, plan: AnswerPlan): Promise<Response> {
  reserveTokens(c, mostTokens(plan)); // before anything is fetched for it
  try {
    return await answerOnce(c, deps, plan);
  } catch (error) {
    if (!hasChanged(error)) throw error;
    return answerOnce(c, deps, { ...plan, model: await plan.resolveAgain() });
  }
}

async function answerOnce(c: Context<HttpEnv>, deps: Deps, plan: AnswerPlan): Promise<Response> {
  const { endpoint, model } = plan;
  const { signal } = c.req.raw;
  const id = `${endpoint.idPrefix}${randomUUID().replaceAll('-', '')}`;
  const observer = observeAnswer(c, deps, plan, id);
  const adapter =
    model.kind === 'adapter'
      ? await observer.acquire(() => deps.localAdapters.acquire(model, { signal }), signal)
      : undefined;
  const adapterPart = model.kind === 'adapter' ? model.digest.slice(0, 12) : 'base';
  const context: AnswerContext = {
    c,
    deps,
    plan: { ...plan, adapter },
    head: {
      id,
      created: Math.floor(deps.now() / 1000),
      model: model.id,
      system_fingerprint: `${deps.model.baseDigest.slice(0, 12)}-${adapterPart}`,
    },
    generation: {
      maxInFlight: deps.limits.maxSequencesInFlight,
      observer,
      onEnd(completionTokens, receipt) {
        c.get('ticket').end(plan.promptTokens + completionTokens);
        logUsage(context, completionTokens, receipt);
      },
      createDecoder: (end) => {
        return deps.tokenizer ? createStreamDecoder(deps.tokenizer, end) : TEXTLESS;
      },
    },
  };
  try {
    return await (plan.stream ? streamAnswer(context, plan.stream) : wholeAnswer(context));
  } catch (error) {
    if (hasChanged(error)) adapter?.distrust();
    adapter?.release(); // a fault before the generation began
    throw error;
  }
}

function hasChanged(error: unknown): boolean {
  return error instanceof ServeError && error.code === 'adapter_checksum_mismatch';
}

/** What the answer's usage may come to. */
function mostTokens({ promptTokens, choices }: AnswerPlan): number {
  return choices.reduce((sum, { request }) => sum + request.maxTokens, promptTokens);
}

/** The decoder of a model without a tokenizer. */
const TEXTLESS = { push: () => ({ text: '', stopped: false }), end: () => '' };

/** Throws where the engine cannot take a request now. */
export function requireReady(deps: Deps): void {
  if (deps.client.state === 'ready') return;
  if (deps.client.state === 'stopped') {
    throw new ServeError('overloaded', 'The server is shutting down');
  }
  throw new ServeError('engine_restarting', `The engine is ${deps.client.state}`);
}
