// POST /v1/completions: completes prompts, which are text or token ids.
import { z } from '@hono/zod-openapi';
import { renderedSchema } from '../../contracts/management-api.ts';
import { completionChunkSchema, completionSchema } from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { COMPLETIONS } from '../generation/choices.ts';
import { queued, respond } from '../generation/respond.ts';
import { type GenerationShape, prepareGeneration } from '../request/prepare-generation.ts';
import { preparePrompts, toTruncation } from '../request/prompts.ts';
import { type CompletionRequest, completionRequestSchema } from '../schema/completions.ts';
import { type App, addRoute, json, jsonOrEvents } from '../wire/route.ts';
import { toRendered } from './render.ts';

/** OpenAI's default for max_tokens. */
const DEFAULT_MAX_TOKENS = 16;

/** Adds the route. */
export function addCompletionsRoute(app: App, deps: Deps): void {
  const { limits, model } = deps;
  app.openAPIRegistry.register('CompletionChunk', completionChunkSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/completions',
    summary: 'Complete a prompt',
    body: { schema: completionRequestSchema({ ...model, limits }), limits },
    response: jsonOrEvents(completionSchema, 'Events with a CompletionChunk each, then `[DONE]`'),
    ...queued<CompletionRequest>(deps, ({ max_tokens: limit }) => limit ?? DEFAULT_MAX_TOKENS),
    async handle(c, body) {
      const shape = shapeOf(body);
      const { plan } = await prepareGeneration(c, deps, body, shape);
      return respond(c, deps, { ...plan, endpoint: COMPLETIONS });
    },
  });
  addRoute(app, {
    method: 'post',
    path: '/v1/completions/render',
    summary: 'Turn the prompts of a completion into tokens',
    body: { schema: completionRequestSchema({ ...model, limits }), limits },
    response: json(z.array(renderedSchema)),
    ...queued<CompletionRequest>(deps, () => 0),
    async handle(c, body) {
      const shape = shapeOf(body);
      const { plan } = await prepareGeneration(c, deps, body, shape);
      return c.json(toRendered(c, plan, body.n));
    },
  });
}

function shapeOf(body: CompletionRequest): GenerationShape<CompletionRequest> {
  const targets = body.prompt_logprob_token_ids ?? undefined;
  const ids = { prompt: body.prompt, prompt_logprob_token_ids: targets?.flat() };
  return { ...SHAPE, ids, promptTargets: targets };
}

const SHAPE: GenerationShape<CompletionRequest> = {
  param: 'prompt',
  defaultTokensOf: () => DEFAULT_MAX_TOKENS,
  maxTokensOf: (body) => body.max_tokens,
  topLogprobsOf: (body) => body.logprobs ?? undefined,
  echoes: (body) => body.echo ?? false,
  async prompts({ body, maxTokens = DEFAULT_MAX_TOKENS, checkFit, ...request }) {
    const prompts = await preparePrompts(body.prompt, request, {
      addSpecialTokens: body.add_special_tokens ?? true,
      truncation: toTruncation(body, maxTokens, request.model),
      checkFit,
    });
    return body.echo ? prompts : prompts.map(({ ids }) => ({ ids, text: '' }));
  },
};
