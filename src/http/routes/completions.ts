// POST /v1/completions: prompts as text or token ids.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { completionChunkSchema, completionSchema } from '../../contracts/openai.ts';
import { answer, requireReady } from '../answer.ts';
import { type AnswerPlan, toStreamPlan, toTextEnd } from '../answer-plan.ts';
import type { Deps } from '../deps.ts';
import { COMPLETIONS } from '../endpoint.ts';
import type { ChoicePlan } from '../generation.ts';
import { addJsonRoute } from '../json-route.ts';
import type { HttpEnv } from '../middleware/tenant.ts';
import {
  type Prompt,
  preparePrompts,
  resolveMaxTokens,
  toBadWords,
  toTruncation,
} from '../prompts.ts';
import { resolveModel } from '../resolve-model.ts';
import { generationConfigOf, withSamplingDefaults } from '../sampling-defaults.ts';
import { type CompletionRequest, completionRequestSchema } from '../schema/completions.ts';
import { toGenerationRequests } from '../schema/sampling.ts';

/** The API's own default. */
const DEFAULT_MAX_TOKENS = 16;

export function addCompletionsRoute(app: OpenAPIHono<HttpEnv>, deps: Deps): void {
  const { vocabSize } = deps.model;
  app.openAPIRegistry.register('CompletionChunk', completionChunkSchema);
  addJsonRoute(app, deps, {
    path: '/v1/completions',
    summary: 'Complete a prompt',
    body: completionRequestSchema({ vocabSize, limits: deps.limits }),
    answers: {
      'application/json': { schema: completionSchema },
      'text/event-stream': {
        schema: z.string().openapi({ description: 'Frames of CompletionChunk, then `[DONE]`' }),
      },
    },
    admit: () => requireReady(deps),
    async handle(c, given) {
      const tenant = c.get('tenant');
      const resolve = () => resolveModel(c, deps, given);
      const model = await resolve();
      const body = withSamplingDefaults(given, await generationConfigOf(deps, model));
      const prompts = await preparePrompts(body.prompt, deps, {
        addSpecialTokens: body.add_special_tokens ?? true,
        truncation: toTruncation(body, body.max_tokens ?? DEFAULT_MAX_TOKENS, deps),
        checkFit: (promptTokens) => budgetFor(promptTokens, body, deps),
      });
      return answer(c, deps, {
        tenant,
        model,
        resolveAgain: resolve,
        choices: planChoices(body, prompts, deps),
        ...planAnswer(body, prompts),
      });
    },
  });
}

/** How many tokens a prompt of so many may generate; throws where they do not fit the context. */
function budgetFor(promptTokens: number, body: CompletionRequest, { model }: Deps): number {
  return resolveMaxTokens(
    {
      promptTokens,
      maxTokens: body.max_tokens ?? undefined,
      defaultTokens: DEFAULT_MAX_TOKENS,
      param: 'prompt',
    },
    model.maxSeqLength,
  );
}

/** Per prompt in order, its n choices. */
function planChoices(
  body: CompletionRequest,
  prompts: readonly Prompt[],
  deps: Deps,
): ChoicePlan[] {
  const badWords = toBadWords(body.bad_words, deps);
  const scored = [echoedLogprobs(body), body.prompt_logprobs].filter((count) => count != null);
  return prompts
    .flatMap((prompt) => {
      const requests = toGenerationRequests(body, deps.model, {
        promptIds: prompt.ids,
        maxTokens: budgetFor(prompt.ids.length, body, deps),
        topLogprobs: body.logprobs ?? undefined,
        promptTopLogprobs: scored.length > 0 ? Math.max(...scored) : undefined,
        badWords,
      });
      return requests.map((request) => ({ request, echo: body.echo ? prompt.text : '' }));
    })
    .map((choice, index) => ({ ...choice, index }));
}

/** The alternatives of the echoed prompt's scores; undefined: it is not echoed, or not scored. */
function echoedLogprobs({ echo, logprobs }: CompletionRequest): number | undefined {
  return echo ? (logprobs ?? undefined) : undefined;
}

function planAnswer(
  body: CompletionRequest,
  prompts: readonly Prompt[],
): Pick<AnswerPlan, 'endpoint' | 'textEnd' | 'promptTokens' | 'logprobs' | 'stream'> {
  return {
    endpoint: COMPLETIONS,
    textEnd: toTextEnd(body),
    promptTokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
    logprobs: {
      isShown: body.logprobs != null,
      byId: body.return_tokens_as_token_ids ?? false,
      echoed: echoedLogprobs(body),
      prompt: body.prompt_logprobs ?? undefined,
    },
    stream: toStreamPlan(body),
  };
}
