// The requests of graders to models: chats whose answer is a score, and embeddings.
import type { GraderCalls, ModelQuestion } from './grade.ts';

/** Sends a request to a route. Throws `ModelCallError` if the response is an error. */
export type Ask = (
  url: '/v1/chat/completions' | '/v1/embeddings',
  body: object,
) => Promise<unknown>;

/** Returns the calls of graders, with the embeddings of a base. */
export function callsOf(ask: Ask, base: string): GraderCalls {
  return {
    async embed(input) {
      const body = { model: base, input, encoding_format: 'float' };
      const { data } = (await ask('/v1/embeddings', body)) as EmbeddingAnswer;
      return data.map(({ embedding }) => embedding);
    },
    async ask(question) {
      const answer = (await ask('/v1/chat/completions', toChatRequest(question))) as ChatAnswer;
      const [choice] = answer.choices;
      const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = answer.usage;
      return { text: choice?.message.content ?? '', promptTokens, completionTokens };
    },
  };
}

interface EmbeddingAnswer {
  readonly data: readonly { readonly embedding: readonly number[] }[];
}

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string | null } }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
}

/** Without bounds, a small model may never end its reasoning. */
const MAX_STEPS = 4;
const stepText = { type: 'string', maxLength: 200 };

/** OpenAI's schema of a score. */
const SCORE_SCHEMA = {
  type: 'object',
  properties: {
    steps: {
      type: 'array',
      maxItems: MAX_STEPS,
      items: {
        type: 'object',
        properties: { description: stepText, conclusion: stepText },
        required: ['description', 'conclusion'],
        additionalProperties: false,
      },
    },
    result: { type: 'number' },
  },
  required: ['steps', 'result'],
  additionalProperties: false,
};

function toChatRequest({ model, messages, sampling_params: params }: ModelQuestion): object {
  const { max_completions_tokens: max_completion_tokens, ...sampling } = params ?? {};
  const given = Object.entries({ ...sampling, max_completion_tokens });
  const json_schema = { name: 'score', strict: true, schema: SCORE_SCHEMA };
  return {
    model,
    messages,
    ...Object.fromEntries(given.filter(([, value]) => value != null)),
    response_format: { type: 'json_schema', json_schema },
  };
}
