// Turns the checked body of a request into a plan: the model, the constraint, the prompts, and one sequence per choice. Chat,
// completions, responses and messages differ only in their `GenerationShape`.
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import { fieldError } from '../../common/errors.ts';
import type { CompiledConstraint, SamplingParams } from '../../contracts/generation.ts';
import { toNumericParams } from '../../contracts/sampling-fields.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import { createStopStrings, type StreamDecoderOptions } from '../../tokenizer/stream-decoder.ts';
import type { GenerationPlan, StreamUsage } from '../generation/generation-plan.ts';
import type { ChoicePlan } from '../generation/sequences.ts';
import type { ChatRequest } from '../schema/chat.ts';
import type { CompletionRequest } from '../schema/completions.ts';
import {
  type ConstraintFields,
  constraintOf,
  type GivenConstraint,
  withExtension,
} from '../schema/constraints.ts';
import type { TokenFields } from '../schema/fields.ts';
import { type TOOL_FIELDS, type ToolFields, toToolUse } from '../schema/tools.ts';
import { callerOf, type HttpEnv } from '../wire/middleware.ts';
import { planToolUse, type UsableConstraint, usableConstraint } from './constraint-check.ts';
import { type Prompt, type PromptParam, resolveMaxTokens, toBadWords } from './prompts.ts';
import {
  checkRequestDefaults,
  generationConfigOf,
  type ModelRequest,
  openModel,
  type RequestDeps,
  requestDefaultsOf,
  withSamplingDefaults,
} from './request-model.ts';

type SharedName = keyof ChatRequest & keyof CompletionRequest;
/** The fields that all generation requests share. */
type SharedFields = Pick<
  ChatRequest,
  Exclude<
    SharedName,
    'logprobs' | 'prediction' | 'verbosity' | keyof ConstraintFields | keyof typeof TOOL_FIELDS
  >
>;

/** The body of a generation request. */
type GenerationBody = SharedFields & ConstraintFields;

/** How an endpoint turns its requests into sequences. */
export interface GenerationShape<Body extends GenerationBody> {
  /** The field that holds the prompt. */
  readonly param: PromptParam;
  /** Fields with token ids that other endpoints lack. */
  readonly ids?: TokenFields;
  /**
   * The max tokens of a request for which `maxTokensOf` returns none, if they fit the context. Default: the model's limit, else
   * the rest of the context.
   */
  defaultTokensOf?(body: Body): number;
  /** The max tokens that the request asks for, if it does. */
  maxTokensOf(body: Body): number | null | undefined;
  /** How many alternatives to show for each generated token. Undefined if the tokens are not scored. */
  topLogprobsOf(body: Body): number | undefined;
  /** Whether each choice begins with its prompt. Absent: never, and a prompt is scored only once for all its choices. */
  echoes?(body: Body): boolean;
  /** The response format, from a field that only this endpoint has. */
  formatOf?(body: Body): GivenConstraint | undefined;
  /** Tokens to score in place of those of the only prompt. */
  readonly promptTargets?: readonly (readonly number[])[] | undefined;
  /** Absent: the endpoint has no tools. */
  readonly tools?: ToolShape<Body>;
  /** Turns the request into prompts. */
  prompts(request: PromptRequest<Body>): Promise<readonly Prompt[]>;
  /** Returns tokens that the completion probably repeats. */
  predict?(body: Body, request: ModelRequest): Promise<readonly number[]>;
}

interface ToolShape<Body> {
  fieldsOf(body: Body): ToolFields;
  /** The field that holds the parameters of a tool. */
  paramOf(body: Body, index: number): string;
}

/** A request that is ready for its prompts to be built. */
export interface PromptRequest<Body> extends ModelRequest {
  readonly body: Body;
  /** The tools that the prompt describes. */
  readonly tools: readonly FunctionTool[] | undefined;
  readonly maxTokens: number | undefined;
  /** Throws `ServeError` if a prompt of this many tokens and its completion do not fit the context. */
  checkFit(promptTokens: number): void;
}

/** A request whose prompts are built, and its body completed by the model's sampling defaults. */
interface PromptedRequest<Body> extends Omit<PromptRequest<Body>, 'tools'> {
  readonly prompts: readonly Prompt[];
  readonly promptTokens: number;
  readonly tools: Awaited<ReturnType<typeof planToolUse>>;
  /** The constraint of a completion without calls. */
  readonly text: UsableConstraint | undefined;
  /** Returns how many tokens may follow a prompt. Throws like `checkFit`. */
  limitFor(promptTokens: number): number;
}

/** Builds the prompts of a generation request. Throws a `ServeError` that names the field that cannot be served. */
export async function buildPrompts<Body extends GenerationBody>(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  requestBody: Body,
  shape: GenerationShape<Body>,
): Promise<PromptedRequest<Body>> {
  const caller = callerOf(c);
  const { logit_bias, stop_token_ids, allowed_token_ids } = requestBody;
  const ids = { ...shape.ids, logit_bias, stop_token_ids, allowed_token_ids };
  const model = await openModel(c, deps, requestBody, ids);
  const modelDefaults = await checkRequestDefaults(await requestDefaultsOf(model.resolved), caller);
  const defaults = await generationConfigOf(deps, model.resolved);
  const body = withSamplingDefaults(requestBody, defaults);
  const format = withExtension(constraintOf(body) ?? shape.formatOf?.(body), body.lorikeet);
  const text = (await usableConstraint(format, caller)) ?? modelDefaults.constraint;
  const use = shape.tools && toToolUse(shape.tools.fieldsOf(body), modelDefaults.tools);
  const paramOf = (index: number) => shape.tools!.paramOf(body, index);
  const tools = use && (await planToolUse(use, model, { text: text?.constraint, caller, paramOf }));
  const maxTokens = shape.maxTokensOf(body) ?? undefined;
  const defaultTokens = shape.defaultTokensOf?.(body) ?? defaults.max_tokens ?? model.maxSeqLength;
  const limitFor = (promptTokens: number) => {
    const { param } = shape;
    return resolveMaxTokens({ promptTokens, maxTokens, defaultTokens, param }, model.maxSeqLength);
  };
  const request = { deps, model, body, maxTokens, checkFit: limitFor };
  const prompts = await shape.prompts({ ...request, tools: tools?.shown });
  const promptTokens = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  return { ...request, prompts, promptTokens, tools, text, limitFor };
}

/** A planned request, and its body completed by the model's sampling defaults. */
interface PreparedGeneration<Body> {
  readonly body: Body;
  readonly plan: Omit<GenerationPlan, 'endpoint'>;
}

/** Prepares a generation request. Throws a `ServeError` that names the field that cannot be served. */
export async function prepareGeneration<Body extends GenerationBody>(
  c: Context<HttpEnv>,
  deps: RequestDeps,
  requestBody: Body,
  shape: GenerationShape<Body>,
): Promise<PreparedGeneration<Body>> {
  const request = await buildPrompts(c, deps, requestBody, shape);
  const { body, model, tools } = request;
  const topLogprobs = shape.topLogprobsOf(body);
  const logprobs = {
    isShown: topLogprobs !== undefined,
    byId: body.return_tokens_as_token_ids ?? false,
    echoed: shape.echoes?.(body) ? topLogprobs : undefined,
    prompt: body.prompt_logprobs ?? undefined,
  };
  const choices = toChoices(request, {
    topLogprobs,
    promptTopLogprobs: Math.max(logprobs.echoed ?? -1, logprobs.prompt ?? -1),
    promptTargetIds: checkTargets(shape.promptTargets, request),
    scoresEachChoice: shape.echoes !== undefined,
    constraint: (tools ?? request.text)?.compiled,
    prefixScope: prefixScope(c.get('tenant').id, body),
    predictionIds: (await shape.predict?.(body, request)) ?? [],
  });
  const plan = {
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
    promptTokens: request.promptTokens,
    logprobs,
    stream: toStreamUsage(body),
  };
  return { body, plan };
}

/** The values that all choices of a request share. */
interface ChoiceOptions {
  readonly constraint: CompiledConstraint | undefined;
  readonly prefixScope: string | undefined;
  readonly predictionIds: readonly number[];
  readonly topLogprobs: number | undefined;
  /** Alternatives for each token of the prompt. Negative if the prompt is not scored. */
  readonly promptTopLogprobs: number;
  readonly promptTargetIds: readonly (readonly number[])[] | undefined;
  readonly scoresEachChoice: boolean;
}

/**
 * Returns n choices for each prompt, in order. The choices of a prompt differ only in their seeds. Throws `ServeError` if
 * min_tokens exceeds max_tokens, or if no token is allowed.
 */
function toChoices(
  { body, model, prompts, limitFor }: PromptedRequest<GenerationBody>,
  options: ChoiceOptions,
): ChoicePlan[] {
  const { constraint, prefixScope, predictionIds, topLogprobs } = options;
  const { promptTopLogprobs, promptTargetIds } = options;
  const badWords = toBadWords(body.bad_words, model);
  const usesTokens = constraint !== undefined || badWords.length > 0;
  const endings = [...new Set([...model.eosTokenIds, ...body.stop_token_ids])];
  const sampling = toSamplingParams(body, topLogprobs, endings);
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
  return prompts.flatMap(({ ids: promptIds, text: echo }, i) => {
    const maxTokens = limitFor(promptIds.length);
    checkConstraints(sampling, maxTokens);
    return Array.from({ length: n }, (_, k): ChoicePlan => {
      const index = i * n + k;
      const isScored = promptTopLogprobs >= 0 && (index === 0 || options.scoresEachChoice);
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
function checkTargets(
  targets: readonly (readonly number[])[] | undefined,
  { body, prompts }: PromptedRequest<GenerationBody>,
) {
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
