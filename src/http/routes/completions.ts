// POST /v1/completions: completes prompts, which are text or token ids.
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from '@hono/zod-openapi';
import { completionChunkSchema, completionSchema } from '../../contracts/openai.ts';
import { answer, queued } from '../answer/answer.ts';
import { type AnswerPlan, toStreamPlan, toTextEnd } from '../answer/answer-plan.ts';
import { COMPLETIONS } from '../answer/endpoint.ts';
import type { ChoicePlan } from '../answer/generation.ts';
import type { Deps } from '../deps.ts';
import { usableConstraint } from '../request/constraint-check.ts';
import { withLanguage } from '../request/model-language.ts';
import { prefixScope } from '../request/prefix-scope.ts';
import {
  type Prompt,
  preparePrompts,
  resolveMaxTokens,
  toBadWords,
  toTruncation,
} from '../request/prompts.ts';
import { checkRequestDefaults, requestDefaultsOf } from '../request/request-defaults.ts';
import {
  generationConfigOf,
  resolveModel,
  withSamplingDefaults,
} from '../request/request-model.ts';
import { type CompletionRequest, completionRequestSchema } from '../schema/completions.ts';
import { constraintOf } from '../schema/constraints.ts';
import { type SequencePlan, toGenerationRequests } from '../schema/sampling.ts';
import { addRoute, json } from '../wire/route.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';

/** OpenAI's default. */
const DEFAULT_MAX_TOKENS = 16;

/** Adds the route. */
export function addCompletionsRoute(app: OpenAPIHono<HttpEnv>, base: Deps): void {
  const {
    limits,
    model: { vocabSize },
  } = base;
  app.openAPIRegistry.register('CompletionChunk', completionChunkSchema);
  addRoute(app, {
    method: 'post',
    path: '/v1/completions',
    summary: 'Complete a prompt',
    body: { schema: completionRequestSchema({ vocabSize, limits }), limits },
    answers: {
      ...json(completionSchema),
      'text/event-stream': {
        schema: z
          .string()
          .openapi({ description: 'Events with a CompletionChunk each, then `[DONE]`' }),
      },
    },
    ...queued<CompletionRequest>(base, ({ max_tokens: limit }) => limit ?? DEFAULT_MAX_TOKENS),
    async handle(c, given) {
      const tenant = c.get('tenant');
      const caller = callerOf(c);
      const resolve = () => resolveModel(c, base, given);
      const model = await resolve();
      const deps = await withLanguage(c, base, model, {
        prompt: given.prompt,
        logit_bias: given.logit_bias,
        stop_token_ids: given.stop_token_ids,
        allowed_token_ids: given.allowed_token_ids,
      });
      const own = await checkRequestDefaults(await requestDefaultsOf(model), caller);
      const body = withSamplingDefaults(given, await generationConfigOf(deps, model));
      const constraint = (await usableConstraint(constraintOf(body), caller)) ?? own.constraint;
      const prompts = await preparePrompts(body.prompt, deps, {
        addSpecialTokens: body.add_special_tokens ?? true,
        truncation: toTruncation(body, body.max_tokens ?? DEFAULT_MAX_TOKENS, deps),
        checkFit: (promptTokens) => budgetFor(promptTokens, body, deps),
      });
      return answer(c, deps, {
        tenant,
        model,
        resolveAgain: resolve,
        choices: planChoices(body, prompts, deps, {
          prefixScope: prefixScope(tenant.id, body),
          constraint,
        }),
        ...planAnswer(body, prompts),
      });
    },
  });
}

/** Returns how many tokens may follow a prompt. Throws `ServeError` if they don't fit the context. */
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

/** The n choices of each prompt, in order. */
function planChoices(
  body: CompletionRequest,
  prompts: readonly Prompt[],
  deps: Deps,
  shared: Pick<SequencePlan, 'prefixScope' | 'constraint'>,
): ChoicePlan[] {
  const badWords = toBadWords(body.bad_words, deps);
  const scored = [echoedLogprobs(body), body.prompt_logprobs].filter((count) => count != null);
  return prompts
    .flatMap((prompt) => {
      const requests = toGenerationRequests(body, deps.model, {
        promptIds: prompt.ids,
        maxTokens: budgetFor(prompt.ids.length, body, deps),
        topLogprobs: body.logprobs ?? undefined,
        ...shared,
        promptTopLogprobs: scored.length > 0 ? Math.max(...scored) : undefined,
        badWords,
      });
      return requests.map((request) => ({ request, echo: body.echo ? prompt.text : '' }));
    })
    .map((choice, index) => ({ ...choice, index }));
}

/** How many alternatives to show for each token of the echoed prompt; undefined if it is not echoed or not scored. */
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
