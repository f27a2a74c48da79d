// What a generation is, as plain data that crosses from the HTTP side to the engine process.
// Token ids only: no text, no names.

/** How the next token is drawn. Neutral values: temperature 1, topK 0, topP 1, minP 0, penalties 0 / 1. */
export interface SamplingParams {
  /** 0 = greedy: the first largest logit. */
  temperature: number;
  /** 0 = all. */
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  /** Token id → added to its logit, [-100, 100]. */
  logitBias: ReadonlyMap<number, number>;
  /** Same seed, prompt, parameters and adapter → same tokens. Absent: a random one. */
  seed?: number;
  /** Alternatives to report for each token, 0..20; absent: no logprobs at all. */
  topLogprobs?: number;
  /** Only these tokens are drawn; absent: all. Not empty. */
  allowedTokenIds?: readonly number[];
  /** Sequences of tokens, none of them empty, of which the last is not drawn where it would complete one. */
  badWords?: readonly (readonly number[])[];
  /** The tokens that end a generation are not drawn before so many others are. */
  minTokens?: { count: number; endings: readonly number[] };
}

export interface GenerationRequest {
  promptIds: readonly number[];
  /** Tokens to generate; 0 only scores the prompt. */
  maxTokens: number;
  /** Generation ends at one of these. */
  stopTokenIds: readonly number[];
  /** Whether the token that ends the generation is reported as a token, too. */
  includesStopToken?: true;
  sampling: SamplingParams;
  /** Alternatives to report for each prompt token (echo), 0..20; absent: the prompt is not scored. */
  promptTopLogprobs?: number;
}

/** Natural-log probability under the log-softmax of the raw logits (before temperature, penalties, filters). */
export interface TokenLogprob {
  id: number;
  logprob: number;
  top: readonly { id: number; logprob: number }[];
  /** Of a prompt's token: 1 for the most likely one. */
  rank?: number;
}

export type FinishReason = 'stop' | 'length' | 'abort';

/** The neutral parameters, greedy. */
export const GREEDY: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
};
