// POST /v1/embeddings: turns texts or token ids into vectors of length 1. Each input is a sequence that ends after its prompt.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { AssertionError } from '../../common/assert.ts';
import { GREEDY } from '../../contracts/generation.ts';
import { embeddingListSchema } from '../../contracts/openai.ts';
import { answer, requireReady } from '../answer.ts';
import { type Endpoint, toTextEnd } from '../answer-plan.ts';
import type { Deps } from '../deps.ts';
import { EmbeddingDocument, type EmbeddingFormat } from '../embedding-document.ts';
import type { ChoicePlan } from '../generation.ts';
import { createCompletionLogprobs } from '../logprobs.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prefixScope } from '../prefix-scope.ts';
import { preparePrompts, resolveMaxTokens, toTruncation } from '../prompts.ts';
import { resolveModel } from '../request-model.ts';
import { addRoute, json } from '../route.ts';
import { type EmbeddingRequest, embeddingRequestSchema } from '../schema/embeddings.ts';

/** Adds the route. */
export function addEmbeddingsRoute(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { limits, model: base } = deps;
  addRoute(app, {
    method: 'post',
    path: '/v1/embeddings',
    summary: 'Turn texts into vectors',
    body: { schema: embeddingRequestSchema({ ...base, limits }), limits },
    answers: json(embeddingListSchema),
    admit: () => requireReady(deps),
    async handle(c, body) {
      const tenant = c.get('tenant');
      const resolve = () => resolveModel(c, deps, body);
      const model = await resolve();
      const prompts = await preparePrompts(body.input, deps, {
        addSpecialTokens: body.add_special_tokens ?? true,
        truncation: toTruncation(body, 0, deps),
        param: 'input',
        checkFit: (promptTokens) => checkFit(promptTokens, deps),
      });
      return answer(c, deps, {
        tenant,
        model,
        resolveAgain: resolve,
        choices: planInputs(
          prompts.map(({ ids }) => ids),
          body,
          prefixScope(tenant.id, body),
        ),
        promptTokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
        endpoint: createEndpoint({
          dimensions: body.dimensions ?? base.hiddenSize,
          encoding: body.encoding_format ?? 'float',
        }),
        textEnd: toTextEnd({ stop: [] }),
        logprobs: { isShown: false, byId: false, echoed: undefined, prompt: undefined },
        stream: undefined,
      });
    },
  });
}

function checkFit(promptTokens: number, { model }: Deps): void {
  const budget = { promptTokens, maxTokens: 0, defaultTokens: 0, param: 'input' } as const;
  resolveMaxTokens(budget, model.maxSeqLength);
}

function planInputs(
  inputs: readonly (readonly number[])[],
  { pooling }: EmbeddingRequest,
  scope: string | undefined,
): ChoicePlan[] {
  return inputs.map((promptIds, index) => {
    const request = {
      promptIds,
      maxTokens: 0,
      stopTokenIds: [],
      sampling: GREEDY,
      pooling: pooling ?? 'mean',
      ...(scope !== undefined && { prefixScope: scope }),
    };
    return { index, request, echo: '' };
  });
}

function createEndpoint(format: EmbeddingFormat): Endpoint {
  return {
    operation: 'embeddings',
    idPrefix: 'embd-',
    limitField: 'input',
    createLogprobs: createCompletionLogprobs,
    createDocument: (_, { head }) => new EmbeddingDocument(head, format),
    createEvents: () => {
      throw new AssertionError('embeddings are not streamed');
    },
  };
}
