// vLLM's POST /tokenize, POST /detokenize and GET /tokenizer_info: text to token ids and back.
import type { Context } from 'hono';
import { ServeError } from '../../common/errors.ts';
import {
  detokenizedSchema,
  tokenizedSchema,
  tokenizerInfoSchema,
} from '../../contracts/management-api.ts';
import type { Deps } from '../deps.ts';
import { toRenderOptions } from '../dialects/render-options.ts';
import { enterQueue, waitingRoute } from '../generation/admission.ts';
import { prepareMessages, prepareText } from '../request/prompts.ts';
import { openBase, openModel, type RequestModel } from '../request/request-model.ts';
import type { TokenFields } from '../schema/fields.ts';
import { detokenizeRequestSchema, tokenizeRequestSchema } from '../schema/tokenize.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type App, addRoute, json } from '../wire/route.ts';

/** Adds the routes. */
export function addTokenizeRoutes(app: App, deps: Deps): void {
  const { model, limits } = deps;
  const maxCount = model.maxSeqLength * limits.maxCharsPerToken;
  addRoute(app, 'POST /tokenize', {
    summary: 'Turn a text or a conversation into tokens',
    body: { schema: tokenizeRequestSchema({ ...model, limits }), limits },
    response: json(tokenizedSchema),
    ...waitingRoute(deps),
    async handle(c, body) {
      using _entry = enterQueue(c, deps, 0);
      const model = await openNamed(c, deps, body.model);
      const request = { model, deps };
      const { ids } = body.messages
        ? await prepareMessages(body.messages, request, {
            ...toRenderOptions(body),
            tools: body.tools ?? [],
          })
        : await prepareText(body.prompt!, request, {
            addSpecialTokens: body.add_special_tokens ?? true,
          });
      return {
        count: ids.length,
        max_model_len: deps.model.maxSeqLength,
        tokens: ids,
        token_strs: body.return_token_strs ? ids.map((id) => model.tokenizer?.idToToken(id)) : null,
      };
    },
  });
  addRoute(app, 'POST /detokenize', {
    summary: 'Turn tokens into text',
    body: { schema: detokenizeRequestSchema({ ...model, maxCount }), limits },
    response: json(detokenizedSchema),
    async handle(c, body) {
      const model = await openNamed(c, deps, body.model, { tokens: body.tokens });
      return {
        prompt: requireTokenizer(model).decode(body.tokens, { skipSpecials: false }),
      };
    },
  });
  addRoute(app, 'GET /tokenizer_info', {
    summary: 'Get the configuration of the tokenizer',
    response: json(tokenizerInfoSchema),
    handle: () => requireTokenizer(deps).config,
  });
}

/** Opens the model that a request names. Default: the base. */
function openNamed(
  c: Context<HttpEnv>,
  deps: Deps,
  model: string | null | undefined,
  ids: TokenFields = {},
): Promise<RequestModel> {
  return model == null ? openBase(c, deps, ids) : openModel(c, deps, { model }, ids);
}

function requireTokenizer({ tokenizer }: Pick<RequestModel, 'tokenizer'>) {
  if (tokenizer) return tokenizer;
  throw new ServeError(
    'not_found',
    'This model has no tokenizer. Send token ids to /v1/completions.',
  );
}
