// Turns the checked body of a request into a plan: the model, the constraint, the prompts, and one sequence per choice. Chat,
// completions and responses differ only in their `GenerationShape`.
import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import type { CompiledConstraint } from '../../contracts/generation.ts';
import type { FunctionTool } from '../../contracts/tools.ts';
import {
  type AnswerPlan,
  type StreamFields,
  toStreamPlan,
  toTextEnd,
} from '../answer/answer-plan.ts';
import type { ChoicePlan } from '../answer/generation.ts';
import type { Deps } from '../deps.ts';
import {
  type ConstraintFields,
  constraintOf,
  type GivenConstraint,
} from '../schema/constraints.ts';
import type { TokenFields } from '../schema/fields.ts';
import { type SharedFields, toGenerationRequests } from '../schema/sampling.ts';
import { type ToolFields, toToolUse } from '../schema/tools.ts';
import { callerOf, type HttpEnv } from '../wire/tenant.ts';
import { planToolUse, usableConstraint } from './constraint-check.ts';
import { type Prompt, type PromptParam, resolveMaxTokens, toBadWords } from './prompts.ts';
import {
  checkRequestDefaults,
  generationConfigOf,
  requestDefaultsOf,
  withSamplingDefaults,
} from './request-defaults.ts';
import { type ModelFields, type ModelRequest, openModel } from './request-model.ts';

/** The fields that all generation requests share. */
type GenerationBody = ModelFields &
  SharedFields &
  StreamFields &
  ConstraintFields & { readonly prompt_logprobs?: number | null | undefined };

/** How an endpoint turns its requests into sequences. */
export interface GenerationShape<Body extends GenerationBody> {
  /** The field that holds the prompt. */
  readonly param: PromptParam;
  /** Fields with token ids that other endpoints lack. */
  readonly ids?: TokenFields;
  /** The max tokens of a request that sets no limit. Default: the model's limit, else the rest of the context. */
  readonly defaultTokens?: number;
  /** The max tokens that the request asks for, if it does. */
  maxTokensOf(body: Body): number | null | undefined;
  /** How many alternatives to show for each generated token. Undefined if the tokens are not scored. */
  topLogprobsOf(body: Body): number | undefined;
  /** Whether each choice begins with its prompt. Absent: never, and a prompt is scored only once for all its choices. */
  echoes?(body: Body): boolean;
  /** The response format, from a field that only this endpoint has. */
  formatOf?(body: Body): GivenConstraint | undefined;
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

/** A planned request, and its body completed by the model's sampling defaults. */
interface PreparedGeneration<Body> {
  readonly body: Body;
  readonly plan: Omit<AnswerPlan, 'endpoint'>;
}

/** Prepares a generation request. Throws a `ServeError` that names the field that cannot be served. */
export async function prepareGeneration<Body extends GenerationBody>(
  c: Context<HttpEnv>,
  deps: Deps,
  given: Body,
  shape: GenerationShape<Body>,
): Promise<PreparedGeneration<Body>> {
  const caller = callerOf(c);
  const { logit_bias, stop_token_ids, allowed_token_ids } = given;
  const ids = { ...shape.ids, logit_bias, stop_token_ids, allowed_token_ids };
  const model = await openModel(c, deps, given, ids);
  const own = await checkRequestDefaults(await requestDefaultsOf(model.resolved), caller);
  const defaults = await generationConfigOf(deps, model.resolved);
  const body = withSamplingDefaults(given, defaults);
  const format = constraintOf(body) ?? shape.formatOf?.(body);
  const text = (await usableConstraint(format, caller)) ?? own.constraint;
  const use = shape.tools && toToolUse(shape.tools.fieldsOf(body), own.tools);
  const paramOf = (index: number) => shape.tools!.paramOf(body, index);
  const tools = use && (await planToolUse(use, model, { text: text?.constraint, caller, paramOf }));
  const maxTokens = shape.maxTokensOf(body) ?? undefined;
  const defaultTokens = shape.defaultTokens ?? defaults.max_tokens ?? model.maxSeqLength;
  const limitFor = (promptTokens: number) => {
    const { param } = shape;
    return resolveMaxTokens({ promptTokens, maxTokens, defaultTokens, param }, model.maxSeqLength);
  };
  const request = { deps, model, body, tools: tools?.shown, maxTokens, checkFit: limitFor };
  const prompts = await shape.prompts(request);
  const topLogprobs = shape.topLogprobsOf(body);
  const logprobs = {
    isShown: topLogprobs !== undefined,
    byId: body.return_tokens_as_token_ids ?? false,
    echoed: shape.echoes?.(body) ? topLogprobs : undefined,
    prompt: body.prompt_logprobs ?? undefined,
  };
  const choices = toChoices(request, {
    prompts,
    limitFor,
    topLogprobs,
    promptTopLogprobs: Math.max(logprobs.echoed ?? -1, logprobs.prompt ?? -1),
    scoresEachChoice: shape.echoes !== undefined,
    constraint: (tools ?? text)?.compiled,
    prefixScope: prefixScope(c.get('tenant').id, body),
    predictionIds: (await shape.predict?.(body, request)) ?? [],
  });
  const plan = {
    tenant: c.get('tenant'),
    model,
    choices,
    textEnd: { ...toTextEnd(body), shownSpecials: tools?.shownSpecials },
    tools,
    promptTokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
    logprobs,
    stream: toStreamPlan(body),
  };
  return { body, plan };
}

/** The values that all choices of a request share. */
interface ChoiceOptions {
  readonly prompts: readonly Prompt[];
  readonly constraint: CompiledConstraint | undefined;
  readonly prefixScope: string | undefined;
  readonly predictionIds: readonly number[];
  readonly topLogprobs: number | undefined;
  /** Alternatives for each token of the prompt. Negative if the prompt is not scored. */
  readonly promptTopLogprobs: number;
  readonly scoresEachChoice: boolean;
  limitFor(promptTokens: number): number;
}

/** Returns n choices for each prompt, in order. */
function toChoices(
  { body, model }: PromptRequest<GenerationBody>,
  {
    prompts,
    limitFor,
    predictionIds,
    promptTopLogprobs,
    scoresEachChoice,
    ...shared
  }: ChoiceOptions,
): ChoicePlan[] {
  const badWords = toBadWords(body.bad_words, model);
  const hint = predictionIds.length > 0 ? { predictionIds } : {};
  return prompts
    .flatMap(({ ids: promptIds, text: echo }) => {
      const maxTokens = limitFor(promptIds.length);
      const plan = { ...shared, promptIds, maxTokens, badWords };
      return toGenerationRequests(body, model, plan).map((request) => ({ request, echo }));
    })
    .map(({ request, echo }, index) => {
      const isScored = promptTopLogprobs >= 0 && (index === 0 || scoresEachChoice);
      const scoring = isScored ? { promptTopLogprobs } : {};
      return { request: { ...request, ...scoring, ...hint }, echo, index };
    });
}

/** The fields that control the prefix cache. */
interface PrefixFields {
  readonly cache_salt?: string | null | undefined;
  readonly cache_prompt?: boolean | null | undefined;
}

/**
 * Returns the scope within which a tenant's request shares cached prefixes, or undefined if the request does not share. The
 * engine sees only this digest.
 */
export function prefixScope(tenant: string, fields: PrefixFields): string | undefined {
  if (fields.cache_prompt === false) return undefined;
  const salt = fields.cache_salt ?? '';
  // A tenant's id has no NUL, so a salt cannot imitate another tenant.
  return createHash('sha256').update(`${tenant}\0${salt}`).digest('base64url');
}
