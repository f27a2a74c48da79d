import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { asBytes } from '../../src/common/tensor.ts';
import {
  DType,
  ForwardBackwardOutputSchema,
  ForwardBackwardRequestSchema,
} from '../../src/tinker/proto/tinker_pb.js';
import { parsePassRequest, toPass, writePassResult } from '../../src/tinker/wire.ts';

const BOUNDS = { vocabSize: 10, maxLength: 4 };
const floats = (...values: number[]) => ({
  layout: { case: 'dense' as const, value: asBytes(Float32Array.from(values)) },
  dtype: DType.DTYPE_FLOAT32,
});
const ids = (...values: number[]) => ({
  layout: { case: 'dense' as const, value: asBytes(BigInt64Array.from(values, BigInt)) },
  dtype: DType.DTYPE_INT64,
});
const text = (...tokens: number[]) => ({
  chunk: { case: 'encodedText' as const, value: { tokens: asBytes(Int32Array.from(tokens)) } },
});

function request(datum: object = {}, rest: object = {}) {
  const lossFnInputs = { target_tokens: ids(2, 3), weights: floats(1, -0.5) };
  const data = [{ modelInput: [text(1), text(2)], lossFnInputs, ...datum }];
  const message = { modelId: 'm', seqId: 1, lossFn: 'cross_entropy', data, ...rest };
  const bytes = toBinary(
    ForwardBackwardRequestSchema,
    create(ForwardBackwardRequestSchema, message),
  );
  return parsePassRequest(bytes);
}

test('a sequence of several chunks is read, with weights below zero', () => {
  assert.deepEqual(toPass(request({}, { forwardOnly: true }), BOUNDS), {
    data: [
      {
        inputIds: Int32Array.of(1, 2),
        targets: Int32Array.of(2, 3),
        inputs: { weights: Float32Array.of(1, -0.5) },
      },
    ],
    loss: { name: 'cross_entropy', config: {} },
    isForwardOnly: true,
  });
});

test('bytes that are no message are refused', () => {
  assert.throws(() => parsePassRequest(Uint8Array.of(255, 255)), { code: 'invalid_request' });
});

const TARGETS = { target_tokens: ids(2, 3) };
const REFUSED: Readonly<Record<string, readonly [datum: object, rest: object, message: RegExp]>> = {
  'a loss without a public formula': [
    {},
    { lossFn: 'stable_reinforce' },
    /^loss_fn: has no public/,
  ],
  'an unknown loss': [{}, { lossFn: 'l2' }, /^loss_fn: must be one of cross_entropy/],
  'a parameter that is not a number': [
    {},
    { lossFn: 'dro', lossFnConfig: { beta: Number.NaN } },
    /^loss_fn_config\.beta: is not finite/,
  ],
  'a parameter of another loss': [
    {},
    { lossFnConfig: { beta: 1 } },
    /^loss_fn_config\.beta: is not a parameter of cross_entropy/,
  ],
  'no sequences': [{}, { data: [] }, /^data: is empty/],
  'a sequence without tokens': [{ modelInput: [] }, {}, /^data\[0\]\.model_input: has no tokens/],
  'a picture': [
    { modelInput: [{ chunk: { case: 'image', value: {} } }] },
    {},
    /^data\[0\]\.model_input: contains a chunk that is not text/,
  ],
  'a long sequence': [
    { modelInput: [text(1, 1, 1, 1, 1)] },
    {},
    /^data\[0\]\.model_input: has 5 tokens; the limit is 4/,
  ],
  'no targets': [
    { lossFnInputs: { weights: floats(1, 1) } },
    {},
    /^data\[0\]\.target_tokens: is required/,
  ],
  'an input that the loss needs and nobody sent': [
    { lossFnInputs: TARGETS },
    {},
    /^data\[0\]\.weights: is required by cross_entropy/,
  ],
  'too few values': [
    { lossFnInputs: { ...TARGETS, weights: floats(1) } },
    {},
    /^data\[0\]\.weights: has 1 values for 2 tokens/,
  ],
  'several targets for each token': [
    { lossFnInputs: { target_tokens: { ...ids(2, 3), shape: [1n, 2n] }, weights: floats(1, 1) } },
    {},
    /^data\[0\]\.target_tokens: must be dense and have one dimension/,
  ],
  'a token of another vocabulary': [
    { lossFnInputs: { ...TARGETS, target_tokens: ids(2, 10), weights: floats(1, 1) } },
    {},
    /^data\[0\]\.target_tokens: 10 is not a token/,
  ],
  'an infinite advantage': [
    { lossFnInputs: { ...TARGETS, weights: floats(1, Number.POSITIVE_INFINITY) } },
    {},
    /^data\[0\]\.weights: is not finite/,
  ],
};

for (const [what, [datum, rest, message]] of Object.entries(REFUSED)) {
  test(`${what} is refused by the name of its field`, () => {
    assert.throws(() => toPass(request(datum, rest), BOUNDS), { code: 'invalid_request', message });
  });
}

test('a result has the log-probabilities of each sequence, and the loss', () => {
  const logProbs = [Float32Array.of(-1, -2), Float32Array.of(-3)];
  const output = fromBinary(ForwardBackwardOutputSchema, writePassResult({ logProbs, loss: 6 }));
  const [record] = output.lossFnOutputs;
  const { data, offsets, dtype } = record!.fields['logprobs']!;
  assert.deepEqual([...new Float32Array(data.slice().buffer)], [-1, -2, -3]);
  assert.deepEqual([...new BigInt64Array(offsets.slice().buffer)], [0n, 8n, 12n]);
  assert.deepEqual(
    { dtype, count: record!.numDatums, metrics: output.metrics },
    { dtype: DType.DTYPE_FLOAT32, count: 2, metrics: { 'loss:sum': 6 } },
  );
});
