import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import type { Completion } from '../../src/contracts/openai.ts';
import { DType, SampleResponseSchema, StopReason } from '../../src/tinker/proto/tinker_pb.js';
import {
  type SampleRequest,
  toCompletionBody,
  toSampleError,
  writeSamples,
} from '../../src/tinker/samples.ts';

const REQUEST: SampleRequest = {
  num_samples: 2,
  prompt: { chunks: [{ tokens: [1, 2] }, { tokens: [3] }] },
  sampling_params: { temperature: 1, top_k: -1, top_p: 1 },
  topk_prompt_logprobs: 0,
  topk_sample_logprobs: 0,
};
const BOUNDS = { maxLength: 10, maxContext: 20 };
const bodyOf = (changes: Partial<SampleRequest['sampling_params']> = {}) => {
  const sampling_params = { ...REQUEST.sampling_params, ...changes };
  return toCompletionBody('base', { ...REQUEST, sampling_params }, BOUNDS) as Record<
    string,
    unknown
  >;
};

test('the prompt is joined, and without a limit the samples fill the context', () => {
  const { prompt, n, max_tokens: limit, stop_token_ids: stops, ignore_eos: ignores } = bodyOf();
  assert.deepEqual({ prompt, n, limit }, { prompt: [1, 2, 3], n: 2, limit: 7 });
  assert.deepEqual([stops, ignores], [undefined, undefined], 'the end token ends them');
  assert.equal(bodyOf({ max_tokens: 4 })['max_tokens'], 4);
});

test('a prompt and a sample that do not fit the context are refused', () => {
  assert.equal(bodyOf({ max_tokens: 17 })['max_tokens'], 17);
  const refusal = { code: 'context_length_exceeded', param: 'prompt', message: /3 tokens.*18/ };
  assert.throws(() => bodyOf({ max_tokens: 18 }), refusal);
});

test('samples end at texts or tokens, or with an empty list at nothing', () => {
  assert.equal(bodyOf({ stop: [] })['ignore_eos'], true);
  assert.deepEqual(bodyOf({ stop: [7, 8] })['stop_token_ids'], [7, 8]);
  assert.deepEqual(bodyOf({ stop: 'END' })['stop'], ['END']);
});

const ANSWER = {
  choices: [
    {
      index: 0,
      text: '',
      finish_reason: 'stop',
      token_ids: [5, 6],
      logprobs: {
        tokens: ['token_id:5', 'token_id:6'],
        token_logprobs: [-0.5, -1],
        top_logprobs: [{ 'token_id:7': -2, 'token_id:5': -0.5 }, { 'token_id:6': -1 }],
        text_offset: [0, 1],
      },
      prompt_logprobs: [
        null,
        {
          2: { logprob: -3, rank: 4, decoded_token: '' },
          9: { logprob: -0.1, rank: 1, decoded_token: '' },
        },
        { 3: { logprob: -0.2, rank: 1, decoded_token: '' } },
      ],
    },
    { index: 1, text: '', finish_reason: 'length', token_ids: [], logprobs: null },
  ],
  usage: {
    prompt_tokens: 3,
    completion_tokens: 2,
    total_tokens: 5,
    prompt_tokens_details: { cached_tokens: 2 },
  },
} as unknown as Completion;

const floats = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)];
const ids = (bytes: Uint8Array) => [...new Int32Array(bytes.slice().buffer)];
const rounded = (values: number[]) => values.map((value) => Math.round(value * 100) / 100);
const readSamples = (changes: Partial<SampleRequest>) =>
  fromBinary(SampleResponseSchema, writeSamples(ANSWER, { ...REQUEST, ...changes }));

test('a response has tokens, their log-probabilities, and why each sample ended', () => {
  const { sequences, promptCacheHitTokens } = readSamples({});
  const [first, second] = sequences;
  assert.deepEqual(ids(first!.tokens), [5, 6]);
  assert.deepEqual(floats(first!.logprobs), [-0.5, -1]);
  assert.deepEqual([first!.stopReason, second!.stopReason], [StopReason.STOP, StopReason.LENGTH]);
  assert.equal(promptCacheHitTokens, 2);
});

test('the tokens of the prompt have log-probabilities, only the last ones if so asked', () => {
  const all = floats(readSamples({ prompt_logprobs: true }).promptLogprobs);
  assert.deepEqual(rounded(all), [Number.NaN, -3, -0.2]);
  const last = readSamples({ prompt_logprobs: true, prompt_logprobs_last_n: 1 });
  assert.deepEqual(rounded(floats(last.promptLogprobs)), [Number.NaN, Number.NaN, -0.2]);
});

test('alternatives come best first, and missing ones are -1', () => {
  const { sequences, topkPromptLogprobs } = readSamples({
    topk_sample_logprobs: 2,
    topk_prompt_logprobs: 1,
  });
  assert.deepEqual(ids(sequences[0]!.topkSampledLogprobs!.tokenIds), [5, 7, 6, -1]);
  assert.deepEqual(ids(topkPromptLogprobs!.tokenIds), [-1, 9, 3]);
});

const DENSE = { data: [9, -1, 3, 2], shape: [2, 2] };
const SPARSE = {
  ...{ data: [9], shape: [2, 4] },
  ...{ sparse_crow_indices: [0, 1, 1], sparse_col_indices: [3] },
};

test('the tokens to score are listed for each token of the prompt but the first', () => {
  const idsOf = (target_prompt_logprobs: SampleRequest['target_prompt_logprobs']) => {
    const request = { ...REQUEST, target_prompt_logprobs };
    const body = toCompletionBody('base', request, BOUNDS);
    return body as Record<string, unknown>;
  };
  assert.deepEqual(idsOf(DENSE)['prompt_logprob_token_ids'], [[9], [3, 2]]);
  assert.equal(idsOf(DENSE)['prompt_logprobs'], 0);
  assert.deepEqual(idsOf(SPARSE)['prompt_logprob_token_ids'], [[9], []]);
  for (const wrong of [
    { ...DENSE, shape: [3, 2] },
    { ...DENSE, shape: [2, 3] },
    { ...SPARSE, sparse_crow_indices: [0, 2, 1] },
    { ...SPARSE, sparse_crow_indices: [0, 1] },
    { ...SPARSE, sparse_col_indices: [] },
    { ...SPARSE, sparse_col_indices: [9] },
    { data: Array.from({ length: 42 }, (_, i) => i), shape: [2, 21] },
  ]) {
    assert.throws(() => idsOf(wrong), { param: 'target_prompt_logprobs' });
  }
});

test('the scores of tokens that were asked for have the shape and layout of the request', () => {
  const scoresOf = (target_prompt_logprobs: SampleRequest['target_prompt_logprobs']) =>
    readSamples({ target_prompt_logprobs, prompt_logprobs_last_n: 1 }).targetPromptLogprobs!;
  const dense = scoresOf({ data: [9, -1, 3, -1], shape: [2, 2] });
  assert.ok(dense.layout.case === 'dense');
  assert.deepEqual(rounded(floats(dense.layout.value)), [-0.1, 0, -0.2, 0]);
  const sparse = scoresOf(SPARSE);
  assert.ok(sparse.layout.case === 'sparseCsr');
  const { values, crowIndices, colIndices } = sparse.layout.value;
  assert.deepEqual(rounded(floats(values)), [-0.1]);
  const longs = (bytes: Uint8Array) => [...new BigInt64Array(bytes.slice().buffer)].map(Number);
  assert.deepEqual([longs(crowIndices), longs(colIndices)], [[0, 1, 1], [3]]);
  assert.deepEqual([sparse.dtype, ...sparse.shape.map(Number)], [DType.DTYPE_FLOAT32, 2, 4]);
});

test('a refused completion is the fault of the client, or of the server', () => {
  const body = JSON.stringify({ error: { message: 'too long' } });
  assert.equal(toSampleError(400, body).code, 'invalid_request');
  assert.equal(toSampleError(503, body).code, 'internal_error');
});
