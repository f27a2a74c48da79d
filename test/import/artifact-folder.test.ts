import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { FileError, UsageError } from '../../src/common/errors.ts';
import { fromFloat32, type Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { readArtifact, readArtifactInfo } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { embeddingName, headName } from '../../src/model/names.ts';
import { temporaryFolder } from '../fixtures.ts';
import { TINY_CONFIG, tinyTensors } from './tiny-model.ts';

const work = temporaryFolder();

const NF4 = { quantization: 'nf4', doubleQuantization: true, hub: { cacheDir: work } } as const;

const TOKENIZER = 'models/toy/tokenizer.json';

/** Creates a source folder. `change` damages it. */
function createSource(
  name: string,
  change: (tensors: Map<string, Tensor>, config: Record<string, unknown>) => void = () => {},
): string {
  const dir = path.join(work, name);
  mkdirSync(dir, { recursive: true });
  const tensors = tinyTensors();
  const config: Record<string, unknown> = { ...TINY_CONFIG };
  change(tensors, config);
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify(config));
  writeFileSync(path.join(dir, 'model.safetensors'), serializeSafetensors(tensors));
  return dir;
}

test('an import is named after its source and copies the tokenizer', async () => {
  const source = createSource('My-Model');
  copyFileSync(TOKENIZER, path.join(source, 'tokenizer.json'));
  const out = path.join(work, 'out-name');
  const info = await importModel(`${source}/`, out, NF4);
  assert.equal(info.name, 'My-Model');
  assert.equal(info.source, 'My-Model');
  assert.deepEqual(readFileSync(path.join(out, 'tokenizer.json')), readFileSync(TOKENIZER));
  const text = readFileSync(path.join(out, 'lorikeet.json'), 'utf8');
  assert.ok(!text.includes(work));
});

test('the digest depends on weights, configuration and tokenizer only', async () => {
  const digest = async (source: string, options = {}) => {
    const out = path.join(work, `digest-${Math.random()}`);
    return (await importModel(source, out, { ...NF4, ...options })).digest;
  };
  const base = await digest(createSource('one'));
  assert.equal(await digest(createSource('two')), base);
  assert.notEqual(await digest(createSource('one'), { doubleQuantization: false }), base);
  const weights = createSource('weights', (tensors) => {
    tensors.get(embeddingName)!.data[0]! ^= 1;
  });
  assert.notEqual(await digest(weights), base);
  const config = createSource('config', (_, json) => {
    json['rms_norm_eps'] = 1e-6;
  });
  assert.notEqual(await digest(config), base);
  const tokenizer = createSource('tokenizer');
  copyFileSync(TOKENIZER, path.join(tokenizer, 'tokenizer.json'));
  assert.notEqual(await digest(tokenizer), base);
});

test('tables of frequencies and a tied head that was saved as a copy are left out', async () => {
  const source = createSource('extras', (tensors) => {
    tensors.set(headName, tensors.get(embeddingName)!);
    tensors.set(
      'model.layers.0.self_attn.rotary_emb.inv_freq',
      fromFloat32(new Float32Array(16), [16], 'F32'),
    );
  });
  const out = path.join(work, 'out-extras');
  await importModel(source, out, NF4);
  const artifact = readArtifact(out);
  assert.equal(artifact.tensors.infos.has(headName), false);
  artifact.tensors.close();
});

type Spoil = Parameters<typeof createSource>[1];
const zeros = (...shape: number[]) =>
  fromFloat32(new Float32Array(shape.reduce((a, b) => a * b)), shape, 'F32');
const spoiled =
  (name: string, value: number): Spoil =>
  (tensors) => {
    const { shape } = tensors.get(name)!;
    const values = new Float32Array(shape.reduce((a, b) => a * b)).fill(value);
    tensors.set(name, fromFloat32(values, shape, 'F32'));
  };
const query = 'model.layers.0.self_attn.q_proj.weight';
const refused: Record<string, [field: string, spoil: Spoil]> = {
  'a missing tensor': [query, (tensors) => tensors.delete(query)],
  'a tensor of another shape': [query, (tensors) => tensors.set(query, zeros(64, 32))],
  'a tensor of integers': [
    'model.norm.weight',
    (tensors) =>
      tensors.set('model.norm.weight', { dtype: 'I32', shape: [64], data: new Uint8Array(256) }),
  ],
  'an unknown tensor': [
    'model.layers.0.mlp.expert.weight',
    (tensors) => tensors.set('model.layers.0.mlp.expert.weight', zeros(64, 64)),
  ],
  'an additional layer': [
    'model.layers.1.input_layernorm.weight',
    (tensors) => tensors.set('model.layers.1.input_layernorm.weight', zeros(64)),
  ],
  'a head that differs from the tied embedding': [
    headName,
    (tensors) => tensors.set(headName, zeros(16, 64)),
  ],
  'a weight that is not finite': [query, spoiled(query, Number.NaN)],
  'a norm that is not finite': ['model.norm.weight', spoiled('model.norm.weight', Infinity)],
  'an embedding that is not finite': [embeddingName, spoiled(embeddingName, Number.NaN)],
  'an unknown family': [
    'model_type',
    (_, config) => {
      config['model_type'] = 'mamba';
    },
  ],
  'weights that another method packed': [
    'quantization_config',
    (_, config) => {
      config['quantization_config'] = { quant_method: 'gptq', bits: 4 };
    },
  ],
};

for (const [what, [field, spoil]] of Object.entries(refused)) {
  test(`${what} is rejected by name and leaves no folder`, async () => {
    const out = path.join(work, 'out-refused');
    await assert.rejects(importModel(createSource(`bad ${what}`, spoil), out, NF4), (error) => {
      assert.ok(error instanceof FileError, String(error));
      assert.equal(error.field, field);
      return true;
    });
    assert.deepEqual(
      readdirSync(work).filter((name) => name.startsWith('out-refused')),
      [],
    );
  });
}

test('a folder with other content is rejected, an artifact of the same source is replaced', async () => {
  const out = path.join(work, 'out-twice');
  await importModel(createSource('twice'), out, NF4);
  await importModel(createSource('twice'), out, { ...NF4, quantization: 'none' });
  const artifact = readArtifact(out);
  assert.equal(artifact.info.quantization, 'none');
  artifact.tensors.close();
  const left = readdirSync(work).filter((name) => name.startsWith('out-twice'));
  assert.deepEqual(left, ['out-twice']);
  await assert.rejects(importModel(createSource('another'), out, NF4), UsageError);
  const foreign = path.join(work, 'foreign');
  mkdirSync(foreign);
  writeFileSync(path.join(foreign, 'thesis.txt'), 'years of work');
  await assert.rejects(importModel(createSource('twice'), foreign, NF4), UsageError);
  const file = path.join(foreign, 'thesis.txt');
  for (const outDir of ['', file])
    await assert.rejects(importModel(createSource('twice'), outDir, NF4), /^UsageError: --out: /);
  assert.ok(existsSync(path.join(foreign, 'thesis.txt')));
  const here = importModel(createSource('twice'), '.', NF4);
  await assert.rejects(here, /^UsageError: --out: \. is a mount point or the current folder/);
});

test('an import does not replace what another one put there meanwhile', async () => {
  const [first, out] = [path.join(work, 'out-first'), path.join(work, 'out-both')];
  await importModel(createSource('first'), first, NF4);
  const onProgress = () => cpSync(first, out, { recursive: true });
  const second = importModel(createSource('second'), out, { ...NF4, onProgress });
  await assert.rejects(second, /^UsageError: --out: .* something other than an artifact of second/);
  assert.equal(readArtifactInfo(out).source, 'first');
});

test('an aborted import leaves no folder', async () => {
  const out = path.join(work, 'out-aborted');
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error('stopped'));
  const source = createSource('aborted');
  const options = { ...NF4, onProgress, signal: controller.signal };
  await assert.rejects(importModel(source, out, options), /stopped/);
  assert.deepEqual(
    readdirSync(work).filter((name) => name.startsWith('out-aborted')),
    [],
  );
});
