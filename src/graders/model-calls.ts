// The requests of graders to models: chats whose answer is a score, and embeddings.
import { type GraderCalls, ModelCallError, type ModelQuestion, type RunPython } from './grade.ts';

/** Sends a request of JSON to a route. Resolves with the body of the response. */
export type Post = (
  url: '/v1/chat/completions' | '/v1/embeddings',
  body: string,
) => Promise<string>;

/** How graders ask. */
interface CallOptions {
  /** The base, whose embeddings are compared. */
  readonly base: string;
  /** The seed of questions without one. Absent: random. */
  readonly seed?: number;
  /** Absent: no grader is in Python. */
  readonly runPython?: RunPython | undefined;
}

/** Returns the calls of graders. */
export function callsOf(post: Post, { base, seed, runPython }: CallOptions): GraderCalls {
  const ask = async (url: Parameters<Post>[0], body: object): Promise<unknown> => {
    const answered = JSON.parse(await post(url, JSON.stringify(body)));
    if (answered.error) throw new ModelCallError(answered.error.message);
    return answered;
  };
  return {
    runPython,
    async embed(input) {
      const body = { model: base, input, encoding_format: 'float' };
      const { data } = (await ask('/v1/embeddings', body)) as EmbeddingAnswer;
      return data.map(({ embedding }) => embedding);
    },
    async ask(question) {
      const answer = (await ask(
        '/v1/chat/completions',
        toChatRequest(question, seed),
      )) as ChatAnswer;
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

function toChatRequest(
  { model, messages, sampling_params: params }: ModelQuestion,
  seed: number | undefined,
): object {
  const { max_completions_tokens: max_completion_tokens, ...sampling } = params ?? {};
  const given = Object.entries({ ...sampling, max_completion_tokens });
  const own = Object.fromEntries(given.filter(([, value]) => value != null));
  const json_schema = { name: 'score', strict: true, schema: SCORE_SCHEMA };
  return {
    model,
    messages,
    ...(seed !== undefined && { seed }),
    ...own,
    response_format: { type: 'json_schema', json_schema },
  };
}
