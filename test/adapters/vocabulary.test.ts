// Adapters that change the embedding, the head or norms: the values that are read, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readHeader } from '../../adapters/peft/header.ts';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import type { AdapterWeights } from '../../adapters/peft/weights.ts';
import { adaptedBaseOf } from '../../src/adapted-base/adapted-base.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { normVector } from '../../src/model/adapter-vectors.ts';
import { changedRow } from '../../src/model/vocabulary-changes.ts';
import { tinyModel } from '../fixtures.ts';
import { adapterBytes, configBytes, filled } from './sample.ts';

const PREFIX = 'base_model.model.';
const EMBED = `${PREFIX}model.embed_tokens`;
const HEAD = `${PREFIX}lm_head`;
const Q = `${PREFIX}model.layers.0.self_attn.q_proj`;
const [V, D, R] = [96, 64, 2];

const wave = (i: number) => Math.sin(i) / 4;
const tensor = (
  name: string,
  shape: readonly number[],
  value: (i: number) => number = wave,
): [string, Tensor] => [name, filled(shape, 'F32', value)];

const LORA = [tensor(`${Q}.lora_A.weight`, [R, D]), tensor(`${Q}.lora_B.weight`, [64, R])];
const EMBED_LORA = [
  tensor(`${EMBED}.lora_embedding_A`, [R, V]),
  tensor(`${EMBED}.lora_embedding_B`, [D, R]),
];
const HEAD_LORA = [
  tensor(`${HEAD}.lora_A.weight`, [R, D]),
  tensor(`${HEAD}.lora_B.weight`, [V, R]),
];
const TOKENS = `${EMBED}.token_adapter.trainable_tokens_delta`;
const NORM = `${PREFIX}model.norm.weight`;

interface Case {
  readonly changes: Record<string, unknown>;
  readonly tensors: readonly [string, Tensor][];
  readonly tied?: boolean;
}

async function parse({ changes, tensors, tied = true }: Case): Promise<AdapterWeights> {
  const { config, artifact } = tinyModel({ tie_word_embeddings: tied });
  const weights = serializeSafetensors(new Map([...LORA, ...tensors]));
  const own = { target_modules: ['q_proj'], layers_to_transform: [0], ...changes };
  const read = async (at: number, length: number) => weights.subarray(at, at + length);
  const parsed = await parseAdapter(
    adapterBytes(configBytes(own), weights),
    config,
    adaptedBaseOf(artifact),
  );
  const size = await readHeader(weights.length, read);
  assert.ok(parsed.byteSize <= size.byteSize, 'memory is reserved by the header');
  for (const part of parsed.parts) assert.ok(size.parts.includes(part), part);
  return parsed;
}

/** The row of a token, from rows of ones. */
function rowOf(changes: AdapterWeights['vocabulary']['head'], id: number): number[] {
  const added = new Float32Array(D);
  const keep = changedRow(changes, id, added);
  return Array.from(added, (value) => value + keep);
}

function near(got: readonly number[], want: (i: number) => number): void {
  for (const [i, value] of got.entries())
    assert.ok(Math.abs(value - want(i)) < 1e-6, `${i}: ${value}`);
}

const target = (...names: string[]) => ({
  target_modules: ['model.layers.0.self_attn.q_proj', ...names],
  layers_to_transform: null,
});

test('an update of the embedding adds to the row of each token, and the head stays', async () => {
  for (const tensors of [
    EMBED_LORA,
    [...EMBED_LORA, tensor(`${EMBED}.base_layer.weight`, [V, D])],
  ]) {
    const { vocabulary } = await parse({ changes: target('embed_tokens'), tensors });
    const delta = (i: number) => {
      const a = (r: number) => wave(r * V + 7);
      return 2 * (a(0) * wave(i * R) + a(1) * wave(i * R + 1));
    };
    near(rowOf(vocabulary.embedding, 7), (i) => 1 + delta(i));
    assert.equal(vocabulary.head.length, 0);
  }
});

test('an update of the head adds to the row of each token', async () => {
  const { vocabulary } = await parse({
    changes: target('lm_head'),
    tensors: HEAD_LORA,
    tied: false,
  });
  const delta = (i: number) => 2 * (wave(7 * R) * wave(i) + wave(7 * R + 1) * wave(D + i));
  near(rowOf(vocabulary.head, 7), (i) => 1 + delta(i));
  assert.equal(vocabulary.embedding.length, 0);
});

test('whole modules replace those of the base', async () => {
  const changes = { modules_to_save: ['lm_head', 'norm'] };
  const norms = ['input_layernorm', 'post_attention_layernorm'].flatMap((name) =>
    [0, 1].map((layer) => tensor(`${PREFIX}model.layers.${layer}.${name}.weight`, [D])),
  );
  const tensors = [tensor(`${HEAD}.weight`, [V, D]), tensor(NORM, [D]), ...norms];
  const { vocabulary, vectors } = await parse({ changes, tensors });
  near(rowOf(vocabulary.head, 7), (i) => wave(7 * D + i));
  assert.equal(vocabulary.embedding.length, 0);
  const own = tinyModel().weights('model.norm.weight');
  near([...vectors.get(normVector('model.norm.weight'))!], (i) => wave(i) - own[i]!);
  assert.equal(vectors.size, 5, 'peft compares the ends of names: norm is every norm');
});

test('a tied change is one of both tables of a tied base', async () => {
  const tie = { ensure_weight_tying: true };
  const update = { changes: { ...target('model.embed_tokens'), ...tie }, tensors: EMBED_LORA };
  for (const tensors of [EMBED_LORA, [...EMBED_LORA, ...HEAD_LORA]]) {
    const { vocabulary } = await parse({ ...update, tensors });
    assert.deepEqual(vocabulary.head, vocabulary.embedding);
    assert.equal(vocabulary.head.length, 1);
  }
  const changes = { modules_to_save: ['embed_tokens'], ...tie };
  const tables = [EMBED, HEAD].map((name) => tensor(`${name}.weight`, [V, D]));
  const { vocabulary, byteSize } = await parse({ changes, tensors: tables });
  near(rowOf(vocabulary.head, 7), (i) => wave(7 * D + i));
  assert.ok(byteSize < 8 * V * D, 'both share their memory');
  const untied = await parse({ ...update, tied: false });
  assert.equal(untied.vocabulary.head.length, 0);
  await assert.rejects(parse({ ...update, tensors: [...EMBED_LORA, ...HEAD_LORA], tied: false }), {
    param: HEAD_A,
  });
});

test('trained tokens replace their rows, also in a tied head', async () => {
  for (const tied of [true, false]) {
    const changes = { trainable_token_indices: [3, 9] };
    const { vocabulary } = await parse({ changes, tensors: [tensor(TOKENS, [2, D])], tied });
    near(rowOf(vocabulary.embedding, 9), (i) => wave(D + i));
    near(rowOf(vocabulary.embedding, 4), () => 1);
    assert.equal(vocabulary.head.length, tied ? 1 : 0);
  }
});

/** The embedding of the base, and one row more for each value. */
function longer(name: string, values: readonly number[]): [string, Tensor] {
  const own = tinyModel().weights('model.embed_tokens.weight');
  return tensor(name, [V + values.length, D], (i) => own[i] ?? values[Math.floor(i / D) - V]!);
}

test('a resized vocabulary keeps its new rows, and those of the base that differ', async () => {
  const { vocabulary, byteSize } = await parse({
    changes: {},
    tensors: [longer(`${EMBED}.weight`, [2, 3])],
  });
  const plain = await parse({ changes: {}, tensors: [] });
  assert.equal(vocabulary.own!.size, V + 2);
  assert.deepEqual([...vocabulary.own!.embedding], [...Array(D).fill(2), ...Array(D).fill(3)]);
  assert.equal(vocabulary.own!.head, vocabulary.own!.embedding, 'a tied head has the same rows');
  assert.deepEqual([vocabulary.embedding, vocabulary.head], [[], []]);
  assert.equal(byteSize - plain.byteSize, 2 * D * 4, 'equal rows are not kept');

  const [name, table] = longer(`${EMBED}.weight`, [2]);
  new DataView(table.data.buffer, table.data.byteOffset).setFloat32(4 * 7 * D, 9, true);
  const [changed] = (await parse({ changes: {}, tensors: [[name, table]] })).vocabulary.embedding;
  assert.ok(changed?.kind === 'tokens');
  assert.deepEqual(changed.ids, [7]);
  assert.equal(changed.rows[0], 9);
});

test('an update and trained tokens reach the new rows', async () => {
  const rows = longer(`${EMBED}.base_layer.weight`, [2, 3]);
  const A = tensor(`${EMBED}.lora_embedding_A`, [R, V + 2]);
  const update = { changes: target('embed_tokens'), tensors: [A, EMBED_LORA[1]!, rows] };
  const { own, embedding } = (await parse(update)).vocabulary;
  const delta = (i: number) => {
    const a = (r: number) => wave(r * (V + 2) + V + 1);
    return 2 * (a(0) * wave(i * R) + a(1) * wave(i * R + 1));
  };
  near([...own!.embedding.subarray(D)], (i) => 3 + delta(i));
  near([...own!.head.subarray(D)], () => 3);
  assert.equal(embedding.length, 1);

  const changes = { trainable_token_indices: [5, V + 1] };
  const copy = longer(`${EMBED}.token_adapter.base_layer.weight`, [2, 3]);
  const { vocabulary } = await parse({ changes, tensors: [tensor(TOKENS, [2, D]), copy] });
  near([...vocabulary.own!.head.subarray(D)], (i) => wave(D + i));
  near([...vocabulary.own!.head.subarray(0, D)], () => 2);
  near(rowOf(vocabulary.head, 5), (i) => wave(i));
});

test('a shorter vocabulary has no row of its own', async () => {
  const own = tinyModel().weights('model.embed_tokens.weight');
  const tensors = [tensor(`${EMBED}.weight`, [V - 9, D], (i) => own[i]!)];
  const { vocabulary, parts } = await parse({ changes: {}, tensors });
  assert.equal(vocabulary.own!.size, V - 9);
  assert.equal(vocabulary.own!.head.length, 0);
  assert.deepEqual(parts, ['embedding', 'head']);
});

const nan = (name: string, shape: readonly number[]) => tensor(name, shape, () => Number.NaN);
type Refused = readonly [
  what: string,
  changes: Case['changes'],
  tensors: Case['tensors'],
  param: string,
  code?: string,
];

const [EMBED_A, EMBED_B] = EMBED_LORA.map(([name]) => name) as [string, string];
const [HEAD_A, HEAD_B] = HEAD_LORA.map(([name]) => name) as [string, string];
const EMBED_TABLE = `${EMBED}.weight`;
const HEAD_TABLE = `${HEAD}.weight`;
const BASE_COPY = `${EMBED}.base_layer.weight`;
const TOKENS_COPY = `${EMBED}.token_adapter.base_layer.weight`;
const V_PROJ = `${PREFIX}model.layers.0.self_attn.v_proj.weight`;
const saved = (...modules: string[]) => ({ modules_to_save: modules });
const trained = (...ids: number[]) => ({ trainable_token_indices: ids });
const embed = target('embed_tokens');
const head = target('lm_head');
const wide = tensor(EMBED_TABLE, [V + 1, D]);
const NAN = 'adapter_non_finite';

const REFUSED: readonly Refused[] = [
  ['no update of the embedding', embed, EMBED_LORA.slice(1), EMBED_A],
  ['an update of the embedding that is not asked for', {}, EMBED_LORA, EMBED_A],
  [
    'an update of the embedding of another rank',
    embed,
    [tensor(EMBED_A, [3, V]), EMBED_LORA[1]!],
    EMBED_A,
  ],
  ['no number in the embedding', embed, [EMBED_LORA[0]!, nan(EMBED_B, [D, R])], EMBED_B, NAN],
  ['no number in the head', head, [HEAD_LORA[0]!, nan(HEAD_B, [V, R])], HEAD_B, NAN],
  ['DoRA on the head', { ...head, use_dora: true }, HEAD_LORA, 'use_dora'],
  ['biases of B on the head', { ...head, lora_bias: true }, HEAD_LORA, 'lora_bias'],
  ['no whole head', saved('lm_head'), [], HEAD_TABLE],
  ['a head that is not asked for', {}, [tensor(HEAD_TABLE, [V, D])], HEAD_TABLE],
  [
    'a head of more tokens without an embedding of as many',
    saved('lm_head'),
    [tensor(HEAD_TABLE, [V + 1, D])],
    HEAD_TABLE,
  ],
  [
    'an embedding and a head of different numbers of tokens',
    {},
    [wide, tensor(HEAD_TABLE, [V + 2, D])],
    HEAD_TABLE,
  ],
  ['a resized table that is not a number', {}, [nan(EMBED_TABLE, [V + 1, D])], EMBED_TABLE, NAN],
  ['a resized table of another width', {}, [tensor(EMBED_TABLE, [V + 1, D - 1])], EMBED_TABLE],
  ['too few tokens', {}, [tensor(EMBED_TABLE, [63, D])], EMBED_TABLE],
  ['too many tokens', {}, [tensor(EMBED_TABLE, [V + 65_537, D], () => 0)], EMBED_TABLE],
  [
    'trained tokens beyond a resized vocabulary',
    trained(V + 1),
    [tensor(TOKENS, [1, D]), tensor(TOKENS_COPY, [V + 1, D])],
    'trainable_token_indices',
  ],
  [
    'an invocation with new tokens',
    { alora_invocation_tokens: [5] },
    [wide],
    'alora_invocation_tokens',
  ],
  [
    'a copy of another vocabulary',
    embed,
    [...EMBED_LORA, tensor(BASE_COPY, [V + 1, D])],
    BASE_COPY,
  ],
  [
    'a tied change of the head',
    { ...saved('lm_head'), ensure_weight_tying: true },
    [tensor(HEAD_TABLE, [V, D])],
    'ensure_weight_tying',
  ],
  ['a norm that is not a number', saved('model.norm'), [nan(NORM, [D])], NORM, NAN],
  ['a norm of another length', saved('model.norm'), [tensor(NORM, [D + 1])], NORM],
  ['a whole linear', saved('v_proj'), [tensor(V_PROJ, [32, D])], V_PROJ],
  ['trained tokens of another number', trained(3), [tensor(TOKENS, [2, D])], TOKENS],
  ['trained tokens that are not asked for', {}, [tensor(TOKENS, [2, D])], TOKENS],
  ['tokens that the base lacks', trained(V), [tensor(TOKENS, [1, D])], 'trainable_token_indices'],
];
for (const [what, changes, tensors, param, code = 'adapter_invalid'] of REFUSED) {
  test(`refused by the tensor or field: ${what}`, async () => {
    await assert.rejects(parse({ changes, tensors }), { code, param });
  });
}

test('refused by the tensor: an untied head without the new tokens', async () => {
  const update = [tensor(EMBED_A, [R, V + 1]), EMBED_LORA[1]!, tensor(BASE_COPY, [V + 1, D])];
  const refused = parse({ changes: embed, tensors: update, tied: false });
  await assert.rejects(refused, { code: 'adapter_invalid', param: EMBED_A });
});

test('a tied change of the head is refused with the field to change', async () => {
  const changes = { modules_to_save: ['lm_head'], ensure_weight_tying: true };
  await assert.rejects(parse({ changes, tensors: [tensor(`${HEAD}.weight`, [V, D])] }), {
    message: /Put embed_tokens instead of lm_head into target_modules or modules_to_save/,
  });
});
