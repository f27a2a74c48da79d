// Turns a request of any dialect into a plan: the model, the constraint, the prompts, and one sequence per choice.
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import { fieldError } from '../../common/errors.ts';
import type { CompiledConstraint, SamplingParams } from '../../contracts/generation.ts';
import { toNumericParams } from '../../contracts/sampling-fields.ts';
import { createStopStrings, type StreamDecoderOptions } from '../../tokenizer/stream-decoder.ts';
import type { Endpoint, GenerationPlan, StreamUsage } from '../generation/generation-plan.ts';
import type { ChoicePlan } from '../generation/sequences.ts';
import { constraintOf, withExtension } from '../schema/constraints.ts';
import { toToolUse } from '../schema/tools.ts';
import { callerOf, type HttpEnv } from '../wire/middleware.ts';
import { planToolUse, type UsableConstraint, usableConstraint } from './constraint-check.ts';
import type { GenerationBody, GenerationInput, SharedFields } from './dialect.ts';
import {
  encodePrompt,
  type Prompt,
  type PromptRequest,
  resolveMaxTokens,
  toBadWords,
  toPredictionIds,
  toTruncation,
} from './prompts.ts';
import {
  checkRequestDefaults,
  generationConfigOf,
  openModel,
  type RequestDeps,
  requestDefaultsOf,
  withSamplingDefaults,
} from './request-model.ts';

/** A request as its dialect has read it. */
export interface ReadRequest {
  readonly endpoint: Endpoint;
  readonly body: GenerationBody;
  readonly input: GenerationInput;
}

/** A request whose prompts are built, and its body completed by the model's sampling defaults. */
interface PromptedRequest extends ReadRequest, Pick<PromptRequest, 'deps' | 'model'> {
  readonly prompts: readonly Prompt[];
  readonly promptTokens: number;
  readonly tools: Awaited<ReturnType<typeof planToolUse>>;
  /** The constraint of a completion without calls. */
  readonly text: UsableConstraint | undefined;
  /** Returns how many tokens may follow a prompt. Throws `ServeError` if they do not fit the context. */
  limitFor(promptTokens: number): number;
}

/** Builds the prompts of a request. Throws a `ServeError` that names the field that cannot be served. */
export async function buildPrompts(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  { endpoint, body: given, input }: ReadRequest,
): Promise<PromptedRequest> {
  const caller = callerOf(c);
  const { logit_bias, stop_token_ids, allowed_token_ids } = given;
  const ids = { ...input.tokenFields, logit_bias, stop_token_ids, allowed_token_ids };
  const model = await openModel(c, deps, given, ids);
  const modelDefaults = await checkRequestDefaults(await requestDefaultsOf(model.resolved), caller);
  const { max_tokens: modelMax, ...defaults } = await generationConfigOf(deps, model.resolved);
  const body = withSamplingDefaults(given, defaults);
  const format = withExtension(constraintOf(body) ?? input.format, body.lorikeet);
  const text = (await usableConstraint(format, caller)) ?? modelDefaults.constraint;
  const use = input.tools && toToolUse(input.tools.fields, modelDefaults.tools);
  const paramOf = (index: number) => input.tools!.fieldOf(index);
  const tools = use && (await planToolUse(use, model, { text: text?.constraint, caller, paramOf }));
  const asked =
    input.maxTokens == null ? undefined : Math.min(input.maxTokens, modelMax ?? Infinity);
  const maxTokens = asked ?? input.defaultTokens;
  const { maxSeqLength } = model;
  const limitFor = (promptTokens: number) =>
    resolveMaxTokens(promptTokens, maxSeqLength, {
      maxTokens: maxTokens ?? modelMax ?? maxSeqLength,
      isFitted: asked === undefined || input.isFitted === true,
      param: endpoint.promptField,
    });
  const prompts = await encodePrompt(input.prompt, {
    ...{ deps, model, maxTokens },
    sampling: body,
    tools: tools?.shown,
    param: endpoint.promptField,
    truncation: toTruncation(body, maxTokens, model),
    checkFit: limitFor,
  });
  const promptTokens = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  return { endpoint, body, input, deps, model, prompts, promptTokens, tools, text, limitFor };
}

/** Plans the generation that answers a request. Throws a `ServeError` that names the field that cannot be served. */
export async function planGeneration(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  read: ReadRequest,
): Promise<GenerationPlan> {
  const request = await buildPrompts(c, deps, read);
  const { endpoint, body, input, model, tools, promptTokens } = request;
  const { topLogprobs } = input;
  const logprobs = {
    isShown: topLogprobs !== undefined,
    byId: body.return_tokens_as_token_ids ?? false,
    echoed: input.echoes ? topLogprobs : undefined,
    prompt: body.prompt_logprobs ?? undefined,
  };
  const choices = toChoices(request, {
    promptTopLogprobs: Math.max(logprobs.echoed ?? -1, logprobs.prompt ?? -1),
    promptTargetIds: checkTargets(request),
    constraint: (tools ?? request.text)?.compiled,
    prefixScope: prefixScope(c.get('tenant').id, body),
    predictionIds: await toPredictionIds(input.prediction, request),
  });
  return {
    endpoint,
    writer: input.writer,
    tenant: c.get('tenant'),
    model,
    choices,
    showsIds: body.return_token_ids ?? false,
    textEnd: {
      ...toTextEnd(body),
      shownSpecials:
        body.skip_special_tokens === false ? model.tokenizer?.specialIds : tools?.shownSpecials,
    },
    tools,
    promptTokens,
    logprobs,
    stream: toStreamUsage(body),
  };
}

/** The values that all choices of a request share. */
interface ChoiceOptions {
  readonly constraint: CompiledConstraint | undefined;
  readonly prefixScope: string | undefined;
  readonly predictionIds: readonly number[];
  /** Alternatives for each token of the prompt. Negative if the prompt is not scored. */
  readonly promptTopLogprobs: number;
  readonly promptTargetIds: readonly (readonly number[])[] | undefined;
}

/**
 * Returns n choices for each prompt, in order. The choices of a prompt differ only in their seeds. Throws `ServeError` if
 * min_tokens exceeds max_tokens, or if no token is allowed.
 */
function toChoices(
  { body, input, model, prompts, limitFor }: PromptedRequest,
  { constraint, prefixScope, predictionIds, promptTopLogprobs, promptTargetIds }: ChoiceOptions,
): ChoicePlan[] {
  const badWords = toBadWords(body.bad_words, model);
  const usesTokens = constraint !== undefined || badWords.length > 0;
  const endings = [...new Set([...model.eosTokenIds, ...body.stop_token_ids])];
  const sampling = toSamplingParams(body, input.topLogprobs, endings);
  const shared = {
    stopTokenIds: body.ignore_eos ? body.stop_token_ids : endings,
    ...(constraint && { constraint }),
    ...(badWords.length > 0 && { badWords }),
    ...(usesTokens && model.addedTokens && { addedTokens: model.addedTokens }),
    ...((body.include_stop_str_in_output || body.return_token_ids) && {
      includesStopToken: true as const,
    }),
    ...(prefixScope !== undefined && { prefixScope }),
    ...(predictionIds.length > 0 && { predictionIds }),
  };
  const n = body.n ?? 1;
  return prompts.flatMap(({ ids: promptIds, text }, i) => {
    const maxTokens = limitFor(promptIds.length);
    checkConstraints(sampling, maxTokens);
    const echo = input.echoes
      ? (text ?? model.tokenizer?.decode(promptIds, { skipSpecials: true }) ?? '')
      : '';
    return Array.from({ length: n }, (_, k): ChoicePlan => {
      const index = i * n + k;
      const isScored = promptTopLogprobs >= 0 && (index === 0 || input.echoes !== undefined);
      const request = {
        ...shared,
        promptIds,
        maxTokens,
        sampling: isSeed(body.seed) ? { ...sampling, seed: seedOfChoice(body.seed, k) } : sampling,
        ...(isScored && { promptTopLogprobs }),
        ...(isScored && promptTargetIds && { promptTargetIds }),
      };
      return { index, echo, request };
    });
  });
}

/** Throws `ServeError` if tokens to score do not belong to the tokens of one scored prompt. */
function checkTargets({ body, input, prompts }: PromptedRequest) {
  const targets = input.promptTargets;
  if (!targets) return undefined;
  const [prompt] = prompts;
  const expected = prompt!.ids.length - 1;
  const fault =
    body.prompt_logprobs == null
      ? 'needs prompt_logprobs'
      : prompts.length > 1
        ? 'needs a single prompt'
        : targets.length !== expected &&
          `needs ${expected} lists, one for each token but the first`;
  if (!fault) return targets;
  throw fieldError('prompt_logprob_token_ids', fault);
}

/**
 * Returns the scope within which a tenant's request shares cached prefixes, or undefined if the request does not share. The
 * engine sees only this digest.
 */
export function prefixScope(
  tenant: string,
  fields: Pick<SharedFields, 'cache_salt' | 'cache_prompt'>,
): string | undefined {
  if (fields.cache_prompt === false) return undefined;
  const salt = fields.cache_salt ?? '';
  // A tenant's id has no NUL, so a salt cannot imitate another tenant.
  return createHash('sha256').update(`${tenant}\0${salt}`).digest('base64url');
}

/** Reads `stream` and `stream_options`. */
function toStreamUsage({ stream, stream_options: options }: SharedFields): StreamUsage | undefined {
  if (!stream) return undefined;
  if (!options?.include_usage) return 'none';
  return options.continuous_usage_stats ? 'each' : 'last';
}

/** Reads `stop`, `min_tokens` and `include_stop_str_in_output`. */
export function toTextEnd(
  body: Pick<SharedFields, 'stop' | 'min_tokens' | 'include_stop_str_in_output'>,
): StreamDecoderOptions {
  return {
    stop: createStopStrings(body.stop),
    includesStop: body.include_stop_str_in_output ?? false,
    minTokens: body.min_tokens ?? 0,
  };
}

/** The smallest normal float32. Dividing logits by less would overflow, so lower temperatures are greedy. */
const SMALLEST_TEMPERATURE = 2 ** -126;

/** Throws `ServeError` if no first token is allowed. The sampler checks later ones. */
function checkConstraints(sampling: SamplingParams, maxTokens: number): void {
  const { minTokens, allowedTokenIds } = sampling;
  if (minTokens && minTokens.count > maxTokens) {
    throw fieldError('min_tokens', `must be at most max_tokens, which is ${maxTokens}`);
  }
  if (!allowedTokenIds) return;
  const forbidden = new Set(minTokens?.endings);
  if (allowedTokenIds.some((id) => !forbidden.has(id))) return;
  const fault =
    'min_tokens forbids all of them, because each ends the completion. Allow another token, or leave min_tokens out';
  throw fieldError('allowed_token_ids', fault);
}

const SEED_BYTES = 6;

/** vLLM and llama.cpp take -1 for a random seed. */
function isSeed(seed: number | null | undefined): seed is number {
  return seed != null && seed !== -1;
}

/**
 * The first choice uses the seed itself if the sampler can take it. Otherwise 48 bits of a hash of the seed and the choice's
 * index. Seeds of more than 53 bits lose their last bits when a body is parsed.
 */
function seedOfChoice(seed: number, choice: number): number {
  if (choice === 0 && seed >= 0 && Number.isSafeInteger(seed)) return seed;
  return createHash('sha256').update(`${seed} ${choice}`).digest().readUIntBE(0, SEED_BYTES);
}

function toSamplingParams(
  body: SharedFields,
  topLogprobs: number | undefined,
  endings: readonly number[],
): SamplingParams {
  const numeric = toNumericParams(body);
  const { allowed_token_ids: allowedTokenIds } = body;
  return {
    ...numeric,
    temperature: numeric.temperature < SMALLEST_TEMPERATURE ? 0 : numeric.temperature,
    logitBias: body.logit_bias,
    ...(topLogprobs !== undefined ? { topLogprobs } : {}),
    ...(body.min_tokens ? { minTokens: { count: body.min_tokens, endings } } : {}),
    ...(allowedTokenIds ? { allowedTokenIds } : {}),
  };
}
