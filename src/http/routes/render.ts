// vLLM's POST /v1/completions/render and /v1/chat/completions/render: the token ids of the prompts that a generation would get.
// Routers compare them with what the servers have cached.
import type { Context } from 'hono';
import type { GenerationPlan } from '../generation/generation-plan.ts';
import type { HttpEnv } from '../wire/middleware.ts';

/** Returns the prompts of a planned generation, in order. `n` is the number of choices for each. */
export function toRendered(
  c: Context<HttpEnv>,
  { choices, model }: Pick<GenerationPlan, 'choices' | 'model'>,
  n: number | null | undefined,
) {
  return choices
    .filter(({ index }) => index % (n ?? 1) === 0)
    .map(({ request }) => ({
      request_id: c.get('requestId'),
      model: model.resolved.id,
      token_ids: [...request.promptIds],
    }));
}
