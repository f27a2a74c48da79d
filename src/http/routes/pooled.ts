// POST /v1/embeddings turns texts or token ids into vectors of length 1. POST /classify sorts them into an adapter's classes.
// Each input is a sequence that ends after its prompt.
import type { Context } from 'hono';
import { AssertionError } from '../../common/assert.ts';
import { fieldError } from '../../common/errors.ts';
import { type GenerationRequest, GREEDY } from '../../contracts/generation.ts';
import { classificationListSchema, embeddingListSchema } from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { enterQueue, waitingRoute } from '../generation/admission.ts';
import type { DocumentWriter, Endpoint, ResponseHead } from '../generation/generation-plan.ts';
import {
  createClassificationDocument,
  createEmbeddingDocument,
} from '../generation/pooled-documents.ts';
import { respond } from '../generation/respond.ts';
import { prefixScope, toTextEnd } from '../request/prepare-generation.ts';
import { preparePrompts, resolveMaxTokens, toTruncation } from '../request/prompts.ts';
import { openModel, type RequestModel } from '../request/request-model.ts';
import {
  classifyRequestSchema,
  type EmbeddingRequest,
  embeddingRequestSchema,
} from '../schema/pooled.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';

/** Adds `POST /v1/embeddings`. */
export function addEmbeddingsRoute(app: App, deps: Deps): void {
  const { limits, model: base } = deps;
  addRoute(app, 'POST /v1/embeddings', {
    summary: 'Turn texts into vectors',
    body: { schema: embeddingRequestSchema({ ...base, limits }), limits },
    response: json(embeddingListSchema),
    ...waitingRoute(deps),
    handle(c, body) {
      const format = {
        dimensions: body.dimensions ?? base.hiddenSize,
        encoding: body.encoding_format ?? 'float',
      } as const;
      return respondPooled(c, deps, {
        body,
        request: { pooling: body.pooling ?? 'mean' },
        endpoint: { ...POOLED, operation: 'embeddings', idPrefix: 'embd-' },
        createDocument: (head) => createEmbeddingDocument(head, format),
      });
    },
  });
}

/** Adds `POST /classify`. */
export function addClassifyRoute(app: App, deps: Deps): void {
  const { limits, model: base } = deps;
  addRoute(app, 'POST /classify', {
    summary: 'Classify texts',
    body: { schema: classifyRequestSchema({ ...base, limits }), limits },
    response: json(classificationListSchema),
    ...waitingRoute(deps),
    handle(c, body) {
      const isActivated = body.use_activation ?? body.activation ?? body.softmax ?? true;
      return respondPooled(c, deps, {
        body,
        request: { pooling: 'last', classifies: true },
        endpoint: { ...POOLED, operation: 'classify', idPrefix: 'classify-' },
        createDocument: (head) => createClassificationDocument(head, isActivated),
      });
    },
  });
}

/** A request whose inputs are pooled. */
interface PooledGeneration {
  readonly body: Omit<EmbeddingRequest, 'pooling' | 'dimensions' | 'encoding_format' | 'normalize'>;
  readonly request: Pick<GenerationRequest, 'pooling' | 'classifies'>;
  readonly endpoint: Endpoint;
  createDocument(head: ResponseHead): DocumentWriter;
}

async function respondPooled(
  c: Context<HttpEnv>,
  deps: Deps,
  { body, request, endpoint, createDocument }: PooledGeneration,
): Promise<Response> {
  using _entry = enterQueue(c, deps, 0);
  const tenant = c.get('tenant');
  const model = await openModel(c, deps, body, { input: body.input });
  if (request.classifies && model.resolved.kind === 'base') {
    throw fieldError('model', 'the base has no classification head. Name an adapter that has one.');
  }
  const prompts = await preparePrompts(
    body.input,
    { model, deps },
    {
      addSpecialTokens: body.add_special_tokens ?? true,
      truncation: toTruncation(body, 0, model),
      param: 'input',
      checkFit: (promptTokens) => checkFit(promptTokens, model),
    },
  );
  const scope = prefixScope(tenant.id, body);
  const shared = {
    ...request,
    maxTokens: 0,
    stopTokenIds: [],
    sampling: GREEDY,
    ...(scope !== undefined && { prefixScope: scope }),
  };
  return await respond(c, deps, {
    tenant,
    model,
    choices: prompts.map(({ ids: promptIds }, index) => {
      return { index, request: { ...shared, promptIds }, echo: '' };
    }),
    promptTokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
    endpoint,
    writer: {
      createDocument: (_plan, head) => createDocument(head),
      createEvents: () => {
        throw new AssertionError('pooled inputs are not streamed');
      },
    },
    textEnd: toTextEnd({ stop: [] }),
    logprobs: { isShown: false, byId: false, echoed: undefined, prompt: undefined },
    stream: undefined,
  });
}

function checkFit(promptTokens: number, { maxSeqLength }: RequestModel): void {
  resolveMaxTokens(promptTokens, maxSeqLength, { maxTokens: 0, isFitted: false, param: 'input' });
}

/** The fields that the two endpoints name in errors. */
const POOLED = { promptField: 'input', limitField: 'input' } as const;
