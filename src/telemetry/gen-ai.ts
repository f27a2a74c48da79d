// OpenTelemetry's names for generative AI: attributes of spans and labels of metrics. Upstream still changes them
// (semantic-conventions-genai, as of semantic-conventions 1.45), so they are defined only here.

/** The attribute and label names. */
export const GEN_AI = {
  operation: 'gen_ai.operation.name',
  provider: 'gen_ai.provider.name',
  requestModel: 'gen_ai.request.model',
  responseModel: 'gen_ai.response.model',
  responseId: 'gen_ai.response.id',
  finishReasons: 'gen_ai.response.finish_reasons',
  timeToFirstChunk: 'gen_ai.response.time_to_first_chunk',
  maxTokens: 'gen_ai.request.max_tokens',
  temperature: 'gen_ai.request.temperature',
  topP: 'gen_ai.request.top_p',
  topK: 'gen_ai.request.top_k',
  seed: 'gen_ai.request.seed',
  frequencyPenalty: 'gen_ai.request.frequency_penalty',
  presencePenalty: 'gen_ai.request.presence_penalty',
  choiceCount: 'gen_ai.request.choice.count',
  stream: 'gen_ai.request.stream',
  outputType: 'gen_ai.output.type',
  inputTokens: 'gen_ai.usage.input_tokens',
  outputTokens: 'gen_ai.usage.output_tokens',
  tokenType: 'gen_ai.token.type',
  errorType: 'error.type',
} as const;

/** The value of `gen_ai.provider.name`. */
export const PROVIDER = 'lorikeet';

/** The values of `gen_ai.operation.name`. */
export type GenAiOperation = 'chat' | 'text_completion' | 'embeddings' | 'classify';
