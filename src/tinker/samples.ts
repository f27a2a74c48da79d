// Samples of Tinker's protocol: translates a request to a completion, which the completions route answers, and its response back.
import { create, toBinary } from '@bufbuild/protobuf';
import { fieldError, ServeError } from '../common/errors.ts';
import { asBytes } from '../common/tensor.ts';
import type { Completion } from '../contracts/openai.ts';
import { DType, SampleResponseSchema, StopReason } from './proto/tinker_pb.js';
import { isCsr } from './tensors.ts';

/** A request for samples, after its schema was checked. */
export interface SampleRequest {
  readonly num_samples: number;
  readonly prompt: { readonly chunks: readonly { readonly tokens: readonly number[] }[] };
  readonly sampling_params: {
    readonly max_tokens?: number | null | undefined;
    readonly seed?: number | null | undefined;
    readonly stop?: string | readonly string[] | readonly number[] | null | undefined;
    readonly temperature: number;
    readonly top_k: number;
    readonly top_p: number;
  };
  readonly prompt_logprobs?: boolean | null | undefined;
  readonly topk_prompt_logprobs: number;
  readonly topk_sample_logprobs: number;
  readonly prompt_logprobs_last_n?: number | null | undefined;
  readonly target_prompt_logprobs?: TargetTensor | null | undefined;
}

/** Token ids [prompt - 1, K], dense or in CSR. Cells of -1 ask for nothing. */
interface TargetTensor {
  readonly data: readonly number[];
  readonly shape: readonly number[];
  readonly sparse_crow_indices?: readonly number[] | null | undefined;
  readonly sparse_col_indices?: readonly number[] | null | undefined;
}

/** The bounds of a sample. */
export interface SampleBounds {
  /** The most tokens of prompt and sample, if the request sets no limit. */
  readonly maxLength: number;
  /** The most tokens of both together. */
  readonly maxContext: number;
}

/** Returns the body of a completion. Throws `ServeError` if prompt and sample do not fit the context. */
export function toCompletionBody(
  model: string,
  request: SampleRequest,
  { maxLength, maxContext }: SampleBounds,
): object {
  const { num_samples: n, sampling_params: params, topk_prompt_logprobs: topPrompt } = request;
  const prompt = request.prompt.chunks.flatMap(({ tokens }) => tokens);
  const maxTokens = params.max_tokens ?? Math.max(1, maxLength - prompt.length);
  if (prompt.length + maxTokens > maxContext) {
    const fault = `has ${prompt.length} tokens, with ${maxTokens} to draw; the context of this server is ${maxContext}. Shorten it, or lower max_tokens.`;
    throw new ServeError('context_length_exceeded', `prompt: ${fault}`, { param: 'prompt' });
  }
  const targets = request.target_prompt_logprobs ?? undefined;
  const scoresPrompt = request.prompt_logprobs || topPrompt > 0 || targets;
  return {
    model,
    prompt,
    n,
    max_tokens: maxTokens,
    temperature: params.temperature,
    top_p: params.top_p,
    top_k: params.top_k,
    // The base's own sampling defaults do not apply.
    min_p: 0,
    repetition_penalty: 1,
    presence_penalty: 0,
    frequency_penalty: 0,
    ...(params.seed != null && { seed: params.seed }),
    ...stopFields(params.stop),
    logprobs: request.topk_sample_logprobs,
    return_token_ids: true,
    return_tokens_as_token_ids: true,
    ...(scoresPrompt && { prompt_logprobs: topPrompt }),
    ...(targets && { prompt_logprob_token_ids: targetRows(targets, prompt.length - 1) }),
  };
}

/** Lists the cells of each row that ask for a token. Throws `ServeError` if the tensor does not fit the prompt. */
function targetRows({ data, shape, ...sparse }: TargetTensor, rows: number): number[][] {
  const [count, columns = 0] = shape;
  if (shape.length !== 2 || count !== rows) {
    throw fieldError(TARGETS, `must have the shape [${rows}, K] for this prompt`);
  }
  const { sparse_crow_indices: sparseBegins, sparse_col_indices: sparseColumnIds } = sparse;
  const begins = sparseBegins ?? Array.from({ length: rows + 1 }, (_, row) => row * columns);
  const fits = sparseBegins
    ? isCsr({ begins, columnIds: sparseColumnIds ?? [], count: data.length, columns })
    : data.length === rows * columns;
  if (!fits || begins.length !== rows + 1) {
    throw fieldError(TARGETS, 'has data that does not fit its shape');
  }
  const lists = Array.from({ length: rows }, (_, row) =>
    [...new Set(data.slice(begins[row], begins[row + 1]))].filter((id) => id >= 0),
  );
  if (lists.every(({ length }) => length <= MAX_TARGETS)) return lists;
  throw fieldError(TARGETS, `may ask for at most ${MAX_TARGETS} tokens at each position`);
}

/** As many as the completions route allows. */
const MAX_TARGETS = 20;
const TARGETS = 'target_prompt_logprobs';

/** No list keeps the end token; an empty one ends nothing. */
function stopFields(stop: SampleRequest['sampling_params']['stop']): object {
  if (stop == null) return {};
  const list: readonly (string | number)[] = typeof stop === 'string' ? [stop] : stop;
  if (list.length === 0) return { ignore_eos: true };
  const strings = list.filter((one) => typeof one === 'string');
  const stop_token_ids = list.filter((one) => typeof one === 'number');
  return { ...(strings.length > 0 && { stop: strings }), stop_token_ids };
}

/** Writes the response to a request for samples. */
export function writeSamples(
  { choices, usage }: Pick<Completion, 'choices' | 'usage'>,
  { topk_sample_logprobs: topK, topk_prompt_logprobs: topPrompt, ...request }: SampleRequest,
): Uint8Array {
  const { prompt_logprobs: all } = choices[0]!;
  const first = (all?.length ?? 0) - (request.prompt_logprobs_last_n ?? Infinity);
  const scores = all?.map((one, i) => (i < first ? null : one));
  const promptIds = request.prompt.chunks.flatMap(({ tokens }) => tokens);
  return toBinary(
    SampleResponseSchema,
    create(SampleResponseSchema, {
      sequences: choices.map(({ finish_reason, token_ids = [], logprobs }) => ({
        stopReason: finish_reason === 'length' ? StopReason.LENGTH : StopReason.STOP,
        tokens: asBytes(Int32Array.from(token_ids)),
        logprobs: asBytes(
          Float32Array.from(logprobs?.token_logprobs ?? [], (one) => one ?? Number.NaN),
        ),
        ...(topK > 0 && {
          topkSampledLogprobs: toTopK(
            (logprobs?.top_logprobs ?? []).map((one) => fromNamed(one ?? {})),
            topK,
          ),
        }),
      })),
      ...(scores && {
        promptLogprobs: asBytes(
          Float32Array.from(scores, (one, i) => one?.[String(promptIds[i])]?.logprob ?? Number.NaN),
        ),
      }),
      ...(scores &&
        topPrompt > 0 && {
          topkPromptLogprobs: toTopK(
            scores.map((one) => fromRanked(one ?? {}, topPrompt)),
            topPrompt,
          ),
        }),
      ...(all &&
        request.target_prompt_logprobs && {
          targetPromptLogprobs: toTargets(request.target_prompt_logprobs, all),
        }),
      promptCacheHitTokens: usage?.prompt_tokens_details.cached_tokens ?? 0,
    }),
  );
}

/** Writes the scores of targets in their layout. Cells that asked for nothing are 0. */
function toTargets({ data, shape, ...sparse }: TargetTensor, scores: readonly PromptScores[]) {
  const { sparse_crow_indices: begins, sparse_col_indices: columnIds } = sparse;
  let row = 0;
  const values = Float32Array.from(data, (id, i) => {
    if (begins) while (i >= begins[row + 1]!) row++;
    else row = Math.floor(i / shape[1]!);
    return id < 0 ? 0 : (scores[row + 1]?.[String(id)]?.logprob ?? Number.NEGATIVE_INFINITY);
  });
  const toBytes = (indices: readonly number[]) => asBytes(BigInt64Array.from(indices, BigInt));
  const layout = begins
    ? {
        case: 'sparseCsr' as const,
        value: {
          values: asBytes(values),
          crowIndices: toBytes(begins),
          colIndices: toBytes(columnIds ?? []),
        },
      }
    : { case: 'dense' as const, value: asBytes(values) };
  return { layout, dtype: DType.DTYPE_FLOAT32, shape: shape.map(BigInt) };
}

type PromptScores = NonNullable<Completion['choices'][number]['prompt_logprobs']>[number];
type Scored = readonly { readonly id: number; readonly logprob: number }[];

/** Reads `{"token_id:5": -0.1}`. */
function fromNamed(named: Readonly<Record<string, number>>): Scored {
  return Object.entries(named).map(([name, logprob]) => ({
    id: Number(name.slice(name.indexOf(':') + 1)),
    logprob,
  }));
}

/** Reads the alternatives of a prompt's token, without the token itself if it is not among them. */
function fromRanked(
  ranked: Readonly<Record<string, { readonly logprob: number; readonly rank: number }>>,
  k: number,
): Scored {
  return Object.entries(ranked)
    .filter(([, { rank }]) => rank <= k)
    .map(([id, { logprob }]) => ({ id: Number(id), logprob }));
}

/** Writes k alternatives for each token, the best first. Missing ones are -1. */
function toTopK(rows: readonly Scored[], k: number) {
  const tokenIds = new Int32Array(rows.length * k).fill(-1);
  const logprobs = new Float32Array(rows.length * k).fill(Number.NaN);
  for (const [row, scored] of rows.entries()) {
    const best = [...scored].sort((a, b) => b.logprob - a.logprob).slice(0, k);
    for (const [i, { id, logprob }] of best.entries()) {
      tokenIds[row * k + i] = id;
      logprobs[row * k + i] = logprob;
    }
  }
  return { tokenIds: asBytes(tokenIds), logprobs: asBytes(logprobs), k, length: rows.length };
}

/** Returns the error of a completion that was refused. */
export function toSampleError(status: number, body: string): ServeError {
  const { error } = JSON.parse(body) as { error: { message: string } };
  return new ServeError(status < 500 ? 'invalid_request' : 'internal_error', error.message);
}
