// Plans the generations that answer a rendered conversation, for chat and responses.
import type { Constraint, GenerationRequest } from '../../contracts/generation.ts';
import type { Deps } from '../deps.ts';
import { type SharedFields, toGenerationRequests } from '../schema/sampling.ts';
import { type PromptParam, resolveMaxTokens, toBadWords } from './prompts.ts';

/** The conversation, and how its answers end. */
export interface ConversationPlan {
  readonly promptIds: readonly number[];
  /** The field that holds the conversation. */
  readonly param: PromptParam;
  /** The limit of the request, and the model's if it has none; without either, the context is the limit. */
  readonly maxTokens: number | undefined;
  readonly defaultTokens: number | undefined;
  readonly prefixScope: string | undefined;
  /** Undefined: the answer is not scored. */
  readonly topLogprobs: number | undefined;
  /** The texts that are possible. Undefined: all. */
  readonly constraint: Constraint | undefined;
}

/** Returns a request for each answer. Throws `ServeError` if conversation and answer do not fit the context. */
export function planConversation(
  body: SharedFields,
  deps: Deps,
  { param, defaultTokens, ...plan }: ConversationPlan,
): GenerationRequest[] {
  const { maxSeqLength } = deps.model;
  const maxTokens = resolveMaxTokens(
    {
      promptTokens: plan.promptIds.length,
      maxTokens: plan.maxTokens,
      defaultTokens: defaultTokens ?? maxSeqLength,
      param,
    },
    maxSeqLength,
  );
  const badWords = toBadWords(body.bad_words, deps);
  return toGenerationRequests(body, deps.model, { ...plan, maxTokens, badWords });
}
