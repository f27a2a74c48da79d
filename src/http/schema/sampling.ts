// Turns the fields that chat and completions share into engine requests. The fields and their bounds are rows of
// `request-fields.ts`.
import { createHash } from 'node:crypto';
import { ServeError } from '../../common/errors.ts';
import type {
  CompiledConstraint,
  GenerationRequest,
  SamplingParams,
} from '../../contracts/generation.ts';
import { toNumericParams } from '../../contracts/sampling-fields.ts';
import type { ServedModel } from '../deps.ts';
import type { ChatRequest } from './chat.ts';
import type { CompletionRequest } from './completions.ts';
import type { ConstraintFields } from './constraints.ts';
import type { TOOL_FIELDS } from './tools.ts';

/** The smallest normal float32. Dividing logits by less would overflow, so lower temperatures are greedy. */
const SMALLEST_TEMPERATURE = 2 ** -126;

type SharedName = keyof ChatRequest & keyof CompletionRequest;
/** The fields that all generation requests share. */
export type SharedFields = Pick<
  ChatRequest,
  Exclude<SharedName, 'logprobs' | 'prediction' | keyof ConstraintFields | keyof typeof TOOL_FIELDS>
>;

/** The part that all sequences of one prompt share. */
interface SequencePlan {
  promptIds: readonly number[];
  maxTokens: number;
  topLogprobs: number | undefined;
  promptTopLogprobs?: number | undefined;
  /** Undefined if the request shares no cached prefixes. */
  prefixScope: string | undefined;
  /** The words that must not be generated. */
  badWords: readonly string[];
  /** The only texts that may be generated. Undefined if all may be. */
  constraint?: CompiledConstraint | undefined;
}

/**
 * Returns one engine request per choice. They differ only in their seeds. Throws `ServeError` if min_tokens exceeds max_tokens,
 * or if no token is allowed.
 */
export function toGenerationRequests(
  body: SharedFields,
  model: Pick<ServedModel, 'eosTokenIds' | 'addedTokens'>,
  plan: SequencePlan,
): GenerationRequest[] {
  const { promptIds, maxTokens, promptTopLogprobs, prefixScope, badWords, constraint } = plan;
  const usesTokens = constraint !== undefined || badWords.length > 0;
  const endings = [...new Set([...model.eosTokenIds, ...body.stop_token_ids])];
  const sampling = toSamplingParams(body, plan, endings);
  checkConstraints(sampling, maxTokens);
  return Array.from({ length: body.n ?? 1 }, (_, k) => ({
    promptIds,
    maxTokens,
    stopTokenIds: body.ignore_eos ? body.stop_token_ids : endings,
    ...(constraint && { constraint }),
    ...(badWords.length > 0 && { badWords }),
    ...(usesTokens && model.addedTokens && { addedTokens: model.addedTokens }),
    sampling: body.seed == null ? sampling : { ...sampling, seed: seedOfChoice(body.seed, k) },
    ...(body.include_stop_str_in_output ? { includesStopToken: true as const } : {}),
    ...(promptTopLogprobs !== undefined ? { promptTopLogprobs } : {}),
    ...(prefixScope !== undefined ? { prefixScope } : {}),
  }));
}

/** Throws `ServeError` if no first token is allowed. The sampler checks later ones. */
function checkConstraints(sampling: SamplingParams, maxTokens: number): void {
  const { minTokens, allowedTokenIds } = sampling;
  if (minTokens && minTokens.count > maxTokens) {
    const message = `min_tokens: must be at most max_tokens, which is ${maxTokens}`;
    throw new ServeError('invalid_request', message, { param: 'min_tokens' });
  }
  if (!allowedTokenIds) return;
  const forbidden = new Set(minTokens?.endings);
  if (allowedTokenIds.some((id) => !forbidden.has(id))) return;
  const message = 'allowed_token_ids: min_tokens forbids all of them';
  throw new ServeError('invalid_request', message, { param: 'allowed_token_ids' });
}

const SEED_BYTES = 6;

/** The first choice uses the seed itself. Other choices use 48 bits of a hash of the seed and their index. */
function seedOfChoice(seed: number, choice: number): number {
  if (choice === 0) return seed;
  return createHash('sha256').update(`${seed} ${choice}`).digest().readUIntBE(0, SEED_BYTES);
}

function toSamplingParams(
  body: SharedFields,
  { topLogprobs }: SequencePlan,
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
