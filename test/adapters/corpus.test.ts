// Bad adapters, generated, each with the answer it must get. The numbers are those of the bad-input corpus (B34-B58).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import type { FloatDType } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import {
  ALL_TARGETS,
  adapterBytes,
  configBytes,
  constant,
  json,
  keyOf,
  MODEL,
  parseSample,
  sampleTensors,
} from './sample.ts';

type Expected = 'ok' | 'adapter_non_finite' | { param: string | RegExp };

const KEY = keyOf(0, 'q_proj', 'A');
const FAR = keyOf(99, 'q_proj', 'A');
const UNTARGETED = keyOf(0, 'o_proj', 'A');
const Q_PROJ = 'base_model.model.model.layers.0.self_attn.q_proj';
const GOOD = serializeSafetensors(sampleTensors());
const HEADER = { param: 'header' };

/** A safetensors file from a header as text, an object or bytes, and data. */
function file(
  header: unknown,
  data: Uint8Array = new Uint8Array(0),
  headerLength?: bigint,
): Uint8Array {
  const isRaw = typeof header === 'string' || header instanceof Uint8Array;
  const bytes = Buffer.from(isRaw ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(bytes.length));
  return Buffer.concat([length, bytes, data]);
}

const entry = (changes: object = {}) => ({
  dtype: 'F32',
  shape: [2, 8],
  data_offsets: [0, 64],
  ...changes,
});
const ENTRY = JSON.stringify(entry());
const one = (changes: object, data = 64) => file({ [KEY]: entry(changes) }, new Uint8Array(data));
/** A file with an entry of each name, as the header spells it. */
const named = (...names: string[]) =>
  file(`{${names.map((name) => `"${name}":${ENTRY}`).join()}}`, new Uint8Array(64));
const two = (offsets: [number, number]) =>
  file({ a: entry(), b: entry({ data_offsets: offsets }) }, new Uint8Array(offsets[1]));
const many = Object.fromEntries(
  Array.from({ length: 100_000 }, (_, i) => [
    `t${i}`,
    entry({ shape: [1], data_offsets: [4 * i, 4 * i + 4] }),
  ]),
);
const length = (value: bigint) => file('{}', new Uint8Array(64), value);

/** The good file with one tensor more, or another one in its place. */
function withTensor(key: string, shape: readonly number[], dtype: FloatDType = 'F32'): Uint8Array {
  return serializeSafetensors(sampleTensors().set(key, constant(shape, 0.5, dtype)));
}

function without(key: string): Uint8Array {
  const tensors = sampleTensors();
  tensors.delete(key);
  return serializeSafetensors(tensors);
}

function withValue(value: number, dtype: 'F32' | 'F16' | 'BF16' = 'F32', factor: 'A' | 'B' = 'A') {
  const isHere = (i: number, f: 'A' | 'B') => i === 3 && f === factor;
  return serializeSafetensors(
    sampleTensors({ dtype, value: (i, f) => (isHere(i, f) ? value : 0.5) }),
  );
}

/** The good file with its header padded by spaces, so that the data starts at another alignment. */
function padded(spaces: number): Uint8Array {
  const size = Number(Buffer.from(GOOD).readBigUInt64LE());
  const header = Buffer.from(GOOD.subarray(8, 8 + size)).toString();
  return file(header + ' '.repeat(spaces), GOOD.subarray(8 + size));
}

/** The good tensors, written in reverse order of the header's keys. */
function unsorted(): Uint8Array {
  const size = Number(Buffer.from(GOOD).readBigUInt64LE());
  const header = JSON.parse(Buffer.from(GOOD.subarray(8, 8 + size)).toString());
  return file(Object.fromEntries(Object.entries(header).reverse()), GOOD.subarray(8 + size));
}

const WEIGHTS: readonly (readonly [string, Uint8Array, Expected])[] = [
  ...[0, 1, 7].map((n) => [`B34: ${n} bytes`, new Uint8Array(n), HEADER] as const),
  ...[0n, 1n, 80n, 2n ** 53n, 2n ** 64n - 1n].map(
    (n) => [`B34: header length ${n}`, length(n), HEADER] as const,
  ),
  ['B35: header of 1 MiB + 1', file(`{}${' '.repeat(1024 * 1024 - 1)}`), HEADER],
  ['B36: header not UTF-8', file(Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d)), HEADER],
  ['B36: header not JSON', file('{"a":'), { param: 'a' }],
  ['B36: header with a leading space', file(' {}'), HEADER],
  ['B36: header an array', file('[]'), HEADER],
  ['B37: duplicate key', named(KEY, KEY), { param: /lora_A|header/ }],
  ['B37: duplicate key, escaped', named('a', '\\u0061'), { param: /a|header/ }],
  ['B38: overlap', two([32, 96]), { param: /^[ab]$/ }],
  ['B38: hole', two([72, 136]), { param: /^[ab]$/ }],
  ['B38: reversed', one({ data_offsets: [64, 0] }), { param: KEY }],
  ['B38: not from 0', one({ data_offsets: [8, 72] }, 72), { param: KEY }],
  ['B38: unsorted but contiguous', unsorted(), 'ok'],
  ['B39: trailing bytes', Buffer.concat([GOOD, Buffer.from('PK\x03\x04')]), { param: /./ }],
  ...[[2 ** 32, 2 ** 32], [-1, -16], [1.5, 8], ['2', 8], [1e300, 2], null, 16].map(
    (shape) => [`B40: shape ${JSON.stringify(shape)}`, one({ shape }), { param: KEY }] as const,
  ),
  [
    'B40: number in exponent form',
    file(`{"${KEY}":{"dtype":"F32","shape":[1e3],"data_offsets":[0,4000]}}`, new Uint8Array(4000)),
    { param: /./ },
  ],
  ['B41: bytes differ from the shape', one({ shape: [2, 7] }), { param: KEY }],
  ...['I64', 'F8_E4M3', 'BOOL', 'F64', 'I8', 'f32', 'X', 7].map(
    (dtype) => [`B42: dtype ${dtype}`, one({ dtype }), { param: KEY }] as const,
  ),
  ['B43: zero-size tensor', one({ shape: [0, 8], data_offsets: [0, 0] }, 0), { param: KEY }],
  ['B43: scalar', one({ shape: [], data_offsets: [0, 4] }, 4), { param: KEY }],
  ['B44: name __proto__', named('__proto__'), { param: /./ }],
  ['B44: name ../x', named('../x'), { param: /./ }],
  ['B44: name of 64 KiB', named('a'.repeat(65_536)), { param: /./ }],
  [
    'B44: metadata not a string map',
    file({ __metadata__: { a: 1 }, [KEY]: entry() }, new Uint8Array(64)),
    { param: /metadata/ },
  ],
  ['B45: a hundred thousand tensors', file(many, new Uint8Array(400_000)), { param: /./ }],
  ...[1, 2, 3, 5].map((n) => [`B46: data ${n} bytes off`, padded(n), 'ok'] as const),
  ...[Number.NaN, Infinity, -Infinity, 1e38, 65_504, 1001].map(
    (value) => [`B47: ${value}`, withValue(value), 'adapter_non_finite'] as const,
  ),
  ['B47: a B over the cap only by its scaling', withValue(501, 'F32', 'B'), 'adapter_non_finite'],
  ['B47: F16 infinity', withValue(70_000, 'F16'), 'adapter_non_finite'],
  ['B47: BF16 NaN', withValue(Number.NaN, 'BF16'), 'adapter_non_finite'],
  ...[-0, 1e-40, 1000, -1000].map((value) => [`B47: ${value}`, withValue(value), 'ok'] as const),
  [
    'B48: all-zero B',
    serializeSafetensors(sampleTensors({ value: (_, f) => (f === 'B' ? 0 : 1) })),
    'ok',
  ],
  ['B49: no tensors', file({}), { param: /./ }],
  ['B49: a B is missing', without(keyOf(1, 'v_proj', 'B')), { param: keyOf(1, 'v_proj', 'B') }],
  ['B49: an A is missing', without(keyOf(2, 'q_proj', 'A')), { param: keyOf(2, 'q_proj', 'A') }],
  ['B49: layer 99', withTensor(FAR, [2, 8]), { param: FAR }],
  [
    'B49: a tensor of a module not targeted',
    withTensor(UNTARGETED, [2, 12]),
    { param: UNTARGETED },
  ],
  ...['\x80\x04\x95pickle', 'GGUF\x03\0\0\0', '\x08\x07onnx', '<!doctype html>', 'PK\x03\x04'].map(
    (text) => {
      const bytes = Buffer.from(text.padEnd(4000, '.'), 'latin1');
      return [`B50: ${JSON.stringify(text)}`, bytes, HEADER] as const;
    },
  ),
  ['B54: a bias', withTensor(`${Q_PROJ}.lora_B.bias`, [1, 12]), { param: /lora_B\.bias$/ }],
  [
    'B54: a magnitude',
    withTensor(`${Q_PROJ}.lora_magnitude_vector`, [1, 12]),
    { param: /magnitude/ },
  ],
  [
    'B54: a whole head',
    withTensor('base_model.model.lm_head.weight', [16, 8]),
    { param: /lm_head/ },
  ],
  ['B58: dtypes mixed over tensors', withTensor(KEY, [2, 8], 'BF16'), 'ok'],
  ['B58: transposed A', withTensor(KEY, [8, 2]), { param: KEY }],
  ['B58: another rank than the configuration', withTensor(KEY, [3, 8]), { param: KEY }],
];

const CONFIGS: readonly (readonly [string, Uint8Array, Expected])[] = [
  ['B51: not JSON', Buffer.from('{'), { param: 'adapter_config.json' }],
  ['B51: not an object', json([1]), { param: 'adapter_config.json' }],
  ...['r', 'lora_alpha', 'target_modules'].map(
    (field) =>
      [`B51: ${field} missing`, configBytes({ [field]: undefined }), { param: field }] as const,
  ),
  ...[0, -1, 1.5, 513].map((r) => [`B52: r ${r}`, configBytes({ r }), { param: 'r' }] as const),
  ['B52: r unlike the tensors', configBytes({ r: 3 }), { param: KEY }],
  ['B53: alpha 0', configBytes({ lora_alpha: 0 }), { param: 'lora_alpha' }],
  [
    'B53: alpha NaN',
    Buffer.from('{"peft_type":"LORA","r":2,"lora_alpha":NaN,"target_modules":["q_proj"]}'),
    { param: 'adapter_config.json' },
  ],
  ['B53: alpha 1e30', configBytes({ lora_alpha: 1e30 }), { param: 'lora_alpha' }],
  ['B53: rsLoRA', configBytes({ use_rslora: true }), 'ok'],
  ['B54: bias', configBytes({ bias: 'all' }), { param: 'bias' }],
  ['B54: DoRA', configBytes({ use_dora: true }), { param: 'use_dora' }],
  [
    'B54: modules_to_save',
    configBytes({ modules_to_save: ['lm_head'] }),
    { param: 'base_model.model.lm_head.weight' },
  ],
  ['B54: peft_type', configBytes({ peft_type: 'PROMPT_TUNING' }), { param: 'peft_type' }],
  [
    'B54: auto_mapping',
    configBytes({ auto_mapping: { base_model_class: 'Evil', parent_library: 'os' } }),
    { param: 'auto_mapping' },
  ],
  ['B55: regex', configBytes({ target_modules: '.*\\.(q|v)_proj' }), 'ok'],
  ['B55: backtracking regex', configBytes({ target_modules: '((.*)*)*!' }), { param: KEY }],
  ['B55: look-around', configBytes({ target_modules: '(?=.)q_proj' }), { param: 'target_modules' }],
  ['B55: a name nowhere', configBytes({ target_modules: ['query'] }), { param: KEY }],
  [
    'B55: lm_head',
    configBytes({ target_modules: ['q_proj', 'v_proj', 'lm_head'] }),
    { param: 'base_model.model.lm_head.lora_A.weight' },
  ],
  [
    'B55: embed_tokens by regex',
    configBytes({ target_modules: '.*(q_proj|v_proj|tokens)' }),
    { param: 'base_model.model.model.embed_tokens.lora_embedding_B' },
  ],
  [
    'B56: another base name of the same shape',
    configBytes({ base_model_name_or_path: 'other/model' }),
    'ok',
  ],
  ['B58: an alpha per module', configBytes({ alpha_pattern: { v_proj: 1 } }), 'ok'],
];

async function assertAnswer(parse: Promise<unknown>, expected: Expected) {
  if (expected === 'ok') return assert.doesNotReject(parse);
  const code = typeof expected === 'string' ? expected : 'adapter_invalid';
  const param = typeof expected === 'string' ? /lora_[AB]/ : expected.param;
  const message = /^adapter refused: .{1,700}$/s; // never a whole hostile name
  return assert.rejects(parse, { name: 'ServeError', code, status: 422, param, message });
}

test('the good file is accepted', async () => {
  await assertAnswer(parseAdapter(adapterBytes(configBytes(), GOOD), MODEL), 'ok');
});

for (const [name, weights, expected] of WEIGHTS) {
  test(name, () =>
    assertAnswer(parseAdapter(adapterBytes(configBytes(), weights), MODEL), expected),
  );
}

for (const [name, config, expected] of CONFIGS) {
  test(name, () => assertAnswer(parseAdapter(adapterBytes(config, GOOD), MODEL), expected));
}

test('no tensors and no module that matches is refused by the targets', async () => {
  const bytes = adapterBytes(configBytes({ target_modules: ['query'] }), file({}));
  await assert.rejects(parseAdapter(bytes, MODEL), { status: 422 });
});

test('B46: an unaligned file has the values of an aligned one', async () => {
  const aligned = await parseSample();
  const shifted = await parseAdapter(adapterBytes(configBytes(), padded(3)), MODEL);
  assert.deepEqual(shifted.layers, aligned.layers);
});

test('B52, B58: ranks and scalings that differ over modules are honoured exactly', async () => {
  const rankOf = (layer: number, target: string) => (target === 'o_proj' ? 5 : layer + 1);
  const value = (_: number, factor: 'A' | 'B') => (factor === 'A' ? 0.5 : 0.25);
  const tensors = sampleTensors({ targets: ALL_TARGETS, rankOf, value });
  const weights = await parseSample(
    {
      target_modules: 'all-linear',
      rank_pattern: { o_proj: 5, 'layers.0..*': 1, 'layers.2..*': 3 },
      alpha_pattern: { 'layers.1.mlp.up_proj': 1 },
    },
    tensors,
  );
  assert.equal(weights.rank, 5);
  assert.deepEqual(weights.targets, ALL_TARGETS);
  const pairOf = (layer: number, target: (typeof ALL_TARGETS)[number]) =>
    weights.layers[layer]![target]!;
  assert.deepEqual([pairOf(0, 'q_proj').rank, pairOf(2, 'q_proj').rank], [1, 3]);
  assert.equal(pairOf(0, 'q_proj').b[0], 0.25 * 4);
  assert.equal(pairOf(1, 'up_proj').b[0], 0.25 * (1 / 2));
  assert.equal(pairOf(1, 'o_proj').b[0], Math.fround(0.25 * (4 / 5)));
  assert.equal(pairOf(1, 'o_proj').a[0], 0.5);
});

test('layers that are not transformed stay empty', async () => {
  const tensors = sampleTensors({ layers: [1] });
  const weights = await parseSample({ layers_to_transform: [1] }, tensors);
  const counts = weights.layers.map((layer) => Object.keys(layer).length);
  assert.deepEqual(counts, [0, 2, 0]);
});
