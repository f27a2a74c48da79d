// vLLM's POST /tokenize, POST /detokenize and GET /tokenizer_info: what a request's text is in tokens, and back.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { ServeError } from '../../common/errors.ts';
import { detokenizedSchema, tokenizedSchema, tokenizerInfoSchema } from '../../contracts/openai.ts';
import type { Deps } from '../deps.ts';
import { addRoute } from '../described-route.ts';
import { addJsonRoute } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import { prepareMessages, prepareText, toRenderOptions } from '../prompts.ts';
import { resolveModel } from '../resolve-model.ts';
import { detokenizeRequestSchema, tokenizeRequestSchema } from '../schema/tokenize.ts';

export function addTokenizeRoutes(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { model, limits, tokenizer } = deps;
  const { vocabSize, maxSeqLength } = model;
  addJsonRoute(app, deps, {
    path: '/tokenize',
    summary: 'Show a text or a conversation as tokens',
    body: tokenizeRequestSchema({ vocabSize, limits }),
    answers: { 'application/json': { schema: tokenizedSchema } },
    async handle(c, body) {
      if (body.model != null) await resolveModel(c, deps, { model: body.model });
      const { ids } = body.messages
        ? prepareMessages(body.messages, deps, toRenderOptions(body))
        : prepareText(body.prompt!, deps, { addSpecialTokens: body.add_special_tokens ?? true });
      return c.json({
        count: ids.length,
        max_model_len: maxSeqLength,
        tokens: ids,
        token_strs: body.return_token_strs ? ids.map((id) => tokenizer?.idToToken(id)) : null,
      });
    },
  });
  addJsonRoute(app, deps, {
    path: '/detokenize',
    summary: 'Show tokens as a text',
    body: detokenizeRequestSchema({ vocabSize, maxCount: maxSeqLength * limits.maxCharsPerToken }),
    answers: { 'application/json': { schema: detokenizedSchema } },
    async handle(c, body) {
      if (body.model != null) await resolveModel(c, deps, { model: body.model });
      return c.json({
        prompt: requireTokenizer(deps).decode(body.tokens, { skipSpecials: false }),
      });
    },
  });
  addRoute(app, {
    method: 'get',
    path: '/tokenizer_info',
    summary: 'Get the tokenizer’s configuration',
    answers: { 'application/json': { schema: tokenizerInfoSchema } },
    errors: [400, 401, 404],
    handle: async (c) => c.json(requireTokenizer(deps).config),
  });
}

function requireTokenizer({ tokenizer }: Deps) {
  if (tokenizer) return tokenizer;
  throw new ServeError('not_found', 'This model has no tokenizer.');
}
