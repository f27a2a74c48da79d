import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { asBytes } from '../../src/common/tensor.ts';
import { boundParts } from '../../src/tinker/message-parts.ts';
import {
  DType,
  ForwardBackwardOutputSchema,
  ForwardBackwardRequestSchema,
  SparseCsrSchema,
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
/** Two values for each token. */
const two = <T extends object>(tensor: T) => ({ ...tensor, shape: [2n, 2n] });
const int64s = (values: readonly number[]) => asBytes(BigInt64Array.from(values, BigInt));
/** Two rows in CSR. */
function sparse({ values, begins, places }: Record<'values' | 'begins' | 'places', number[]>) {
  const [crowIndices, colIndices] = [int64s(begins), int64s(places)];
  const value = { values: asBytes(Float32Array.from(values)), crowIndices, colIndices };
  return two({
    layout: { case: 'sparseCsr' as const, value: create(SparseCsrSchema, value) },
    dtype: DType.DTYPE_FLOAT32,
  });
}
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
    columns: [1],
    loss: { name: 'cross_entropy', config: {} },
    isForwardOnly: true,
  });
});

test('a sequence with several targets per token becomes one for each, and sparse weights are zero elsewhere', () => {
  const lossFnInputs = {
    target_tokens: two(ids(2, 3, 4, 5)),
    weights: sparse({ values: [0.5, 2], begins: [0, 1, 2], places: [1, 0] }),
  };
  const { data, columns } = toPass(request({ lossFnInputs }), BOUNDS);
  assert.deepEqual(columns, [2]);
  const inputIds = Int32Array.of(1, 2);
  assert.deepEqual(data, [
    { inputIds, targets: Int32Array.of(2, 4), inputs: { weights: Float32Array.of(0, 2) } },
    { inputIds, targets: Int32Array.of(3, 5), inputs: { weights: Float32Array.of(0.5, 0) } },
  ]);
});

test('inputs that the loss does not use are not read', () => {
  const lossFnInputs = { target_tokens: ids(2, 3), weights: floats(1, 1), mask: floats(1) };
  const [datum] = toPass(request({ lossFnInputs }), BOUNDS).data;
  assert.deepEqual(Object.keys(datum!.inputs), ['weights']);
});

test('more tokens than a dense body can hold are refused, however few bytes they take', () => {
  const length = 1024;
  const width = { shape: [BigInt(length), 128n] };
  const empty = { values: [], begins: new Array<number>(length + 1).fill(0), places: [] };
  const lossFnInputs = {
    target_tokens: { ...sparse(empty), ...width },
    weights: { ...sparse(empty), ...width },
  };
  const datum = { modelInput: [text(...new Array<number>(length).fill(1))], lossFnInputs };
  const bounds = { vocabSize: 10, maxLength: length };
  assert.equal(toPass(request(datum), bounds).data.length, 128);
  const two = request({}, { data: [datum, datum] });
  assert.throws(() => toPass(two, bounds), { param: 'data', message: /131072 tokens/ });
});

/** Fails unless this is refused with the message, before it has taken so much memory. */
function assertCheap(act: () => void, message: RegExp, maxBytes: number): void {
  globalThis.gc!();
  const before = process.memoryUsage().heapUsed;
  assert.throws(act, { message });
  const taken = process.memoryUsage().heapUsed - before;
  assert.ok(taken < maxBytes, `${taken} bytes`);
}

test('sparse rows beyond the sequence are refused before they take memory', () => {
  const rows = 125_000;
  const empty = { values: [], begins: new Array<number>(rows + 1).fill(0), places: [] };
  const weights = { ...sparse(empty), shape: [BigInt(rows), 128n] };
  const parsed = request({ lossFnInputs: { target_tokens: weights, weights } });
  assertCheap(() => toPass(parsed, BOUNDS), /has 125000 values for 2 tokens/, 10e6);
});

test('bytes that are no message are refused', () => {
  assert.throws(() => parsePassRequest(Uint8Array.of(255, 255)), { code: 'invalid_request' });
});

/** A field with these bytes. */
function field(number: number, content: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(content).finish();
}
const empty = (number: number, count: number) =>
  Buffer.alloc(2 * count, field(number, new Uint8Array(0)));
const MANY = 500_000;
const input = (tensor: Uint8Array) => field(3, field(2, field(2, tensor)));
const PARTS: Readonly<Record<string, readonly [name: string, body: Uint8Array]>> = {
  'empty sequences': ['data', empty(3, MANY)],
  'empty chunks': ['data', field(3, empty(1, MANY))],
  'empty inputs': ['data', field(3, empty(2, MANY))],
  'layouts of a tensor': ['data', input(empty(2, MANY))],
  dimensions: ['data', input(field(4, new Uint8Array(2 * MANY)))],
  'parameters without a name': ['loss_fn_config', empty(5, MANY)],
  'unknown fields': ['field 15', empty(15, MANY)],
};

for (const [what, [param, body]] of Object.entries(PARTS)) {
  test(`1 MB of ${what} is refused before it takes memory`, () => {
    const message = new RegExp(`${param}: has more than 131072 parts`);
    assertCheap(() => parsePassRequest(body), message, 40e6);
  });
}

test('parts are counted at all depths', () => {
  const [chunk, dense] = [text(1, 2), ids(2, 3)];
  const message = create(ForwardBackwardRequestSchema, {
    lossFn: 'dro', // 1
    lossFnConfig: { beta: 1 }, // an entry, its name and its value: 3
    data: [
      {
        modelInput: [chunk, chunk], // 2, each with a text and its tokens: 4
        // An entry, its name and its value, which has bytes and a type: 5. The packed shape has 2 bytes.
        lossFnInputs: { target_tokens: two(dense) },
      },
    ], // 1
  });
  const bytes = toBinary(ForwardBackwardRequestSchema, message);
  const parts = 1 + 3 + 2 + 4 + 5 + 2 + 1;
  boundParts(ForwardBackwardRequestSchema, parts)(bytes);
  const tooFew = boundParts(ForwardBackwardRequestSchema, parts - 1);
  assert.throws(() => tooFew(bytes), { message: /: has more than 17 parts/ });
});

test('as many parts as the limit are accepted', () => {
  const { length } = parsePassRequest(empty(3, 2 ** 17)).data;
  assert.equal(length, 2 ** 17);
  assert.throws(() => parsePassRequest(empty(3, 2 ** 17 + 1)), { param: 'data', status: 400 });
});

const PICTURE = { modelInput: [{ chunk: { case: 'image', value: {} } }] };
const UNTARGETED = { lossFnInputs: { weights: floats(1, 1) } };
const LONG = { modelInput: [text(1, 1, 1, 1, 1)] };
const FOUR = two(ids(2, 3, 4, 5));
const REFUSED: [what: string, message: RegExp, datum: object, rest?: object][] = [
  ['an unknown loss', /^loss_fn: must be one of cross_entropy/, {}, { lossFn: 'l2' }],
  ['a loss without a formula', /^loss_fn: has no public/, {}, { lossFn: 'stable_reinforce' }],
  [
    'a parameter that is not a number',
    /^loss_fn_config\.beta: is not finite/,
    {},
    { lossFn: 'dro', lossFnConfig: { beta: Number.NaN } },
  ],
  [
    'a parameter of another loss',
    /^loss_fn_config\.beta: is not a parameter of cross_entropy/,
    {},
    { lossFnConfig: { beta: 1 } },
  ],
  ['no sequences', /^data: is empty/, {}, { data: [] }],
  ['a sequence without tokens', /^data\[0\]\.model_input: has no tokens/, { modelInput: [] }],
  ['a picture', /^data\[0\]\.model_input: contains a chunk that is not text/, PICTURE],
  ['no targets', /^data\[0\]\.target_tokens: is required/, UNTARGETED],
  ['a long sequence', /^data\[0\]\.model_input: has 5 tokens; the limit is 4/, LONG],
];

for (const [what, message, datum, rest] of REFUSED) {
  test(`${what} is refused by the name of its field`, () => {
    assert.throws(() => toPass(request(datum, rest), BOUNDS), { code: 'invalid_request', message });
  });
}

/** Inputs of the loss in place of two targets → what is said of one of them. */
const REFUSED_INPUTS: [what: string, inputs: object, field: string, says: RegExp, loss?: string][] =
  [
    ['no weights', {}, 'weights', /is required by cross_entropy/],
    ['too few values', { weights: floats(1) }, 'weights', /has 1 values for 2 tokens/],
    [
      'several targets for each token, with one weight for all',
      { target_tokens: FOUR, weights: floats(1, 1) },
      'weights',
      /has 1 values per token, but target_tokens has 2/,
    ],
    [
      'several targets for each token in a loss of samples',
      {
        target_tokens: FOUR,
        logprobs: two(floats(1, 1, 1, 1)),
        advantages: two(floats(1, 1, 1, 1)),
      },
      'target_tokens',
      /may have several targets per token only for cross_entropy/,
      'ppo',
    ],
    [
      'more targets than the limit',
      { weights: { ...floats(1), shape: [2n, 129n] } },
      'weights',
      /has 129 values per token; the limit is 128/,
    ],
    [
      'three dimensions',
      { weights: { ...floats(1, 1), shape: [2n, 1n, 1n] } },
      'weights',
      /must have one value, or one row of values/,
    ],
    [
      'sparse values outside of their rows',
      { weights: sparse({ values: [1], begins: [0, 1, 1], places: [2] }) },
      'weights',
      /has indices that do not fit its values/,
    ],
    [
      'a token of another vocabulary',
      { target_tokens: ids(2, 10), weights: floats(1, 1) },
      'target_tokens',
      /10 is not a token/,
    ],
    ['an infinite advantage', { weights: floats(1, Infinity) }, 'weights', /is not finite/],
  ];

for (const [what, inputs, field, says, lossFn = 'cross_entropy'] of REFUSED_INPUTS) {
  test(`${what} is refused by the name of its field`, () => {
    const lossFnInputs = { target_tokens: ids(2, 3), ...inputs };
    const refused = () => toPass(request({ lossFnInputs }, { lossFn }), BOUNDS);
    const message = new RegExp(`^data\\[0\\]\\.${field}: ${says.source}`);
    assert.throws(refused, { code: 'invalid_request', message });
  });
}

test('a result has the log-probabilities of each sequence, and the loss', () => {
  const logProbs = [Float32Array.of(-1, -2), Float32Array.of(-3)];
  const output = fromBinary(
    ForwardBackwardOutputSchema,
    writePassResult({ logProbs, loss: 6 }, [1, 1]),
  );
  const [record] = output.lossFnOutputs;
  const { data, offsets, dtype } = record!.fields['logprobs']!;
  assert.deepEqual([...new Float32Array(data.slice().buffer)], [-1, -2, -3]);
  assert.deepEqual([...new BigInt64Array(offsets.slice().buffer)], [0n, 8n, 12n]);
  assert.deepEqual(
    { dtype, count: record!.numDatums, metrics: output.metrics },
    { dtype: DType.DTYPE_FLOAT32, count: 2, metrics: { 'loss:sum': 6 } },
  );
});

test('a result has a row for each token with several targets, and a record for each width', () => {
  const logProbs = [[-1, -2], [-3, -4], [-5, -6], [-7]].map((values) => Float32Array.from(values));
  const bytes = writePassResult({ logProbs, loss: 0 }, [1, 2, 1]);
  const records = fromBinary(ForwardBackwardOutputSchema, bytes).lossFnOutputs.map(
    ({ fields, numDatums }) => {
      const { data, trailingShape } = fields['logprobs']!;
      return { values: [...new Float32Array(data.slice().buffer)], trailingShape, numDatums };
    },
  );
  assert.deepEqual(records, [
    { values: [-1, -2], trailingShape: [], numDatums: 1 },
    { values: [-3, -5, -4, -6], trailingShape: [2n], numDatums: 1 },
    { values: [-7], trailingShape: [], numDatums: 1 },
  ]);
});
