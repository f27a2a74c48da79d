import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { FileError } from '../../src/common/errors.ts';
import { hashFile } from '../../src/common/regular-file.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import {
  openSafetensors,
  parseSafetensors,
  serializeSafetensors,
} from '../../src/formats/safetensors.ts';
import { readArtifact, readLinear } from '../../src/import/artifact.ts';
import { importModel } from '../../src/import/import-model.ts';
import { mapFile } from '../../src/ort/mapped-file.ts';
import { temporaryFolder } from '../fixtures.ts';
import { TINY_CONFIG, tinyFiles, tinyTensors } from './tiny-model.ts';

const work = temporaryFolder();

const NF4 = { quantization: 'nf4', doubleQuantization: true } as const;
const LINEAR = 'model.layers.0.mlp.up_proj';
const STATE = `${LINEAR}.weight.quant_state.bitsandbytes__nf4`;
let count = 0;

function createFolder(files: Map<string, Uint8Array>): string {
  const dir = path.join(work, `folder-${count++}`);
  mkdirSync(dir);
  for (const [name, bytes] of files) writeFileSync(path.join(dir, name), bytes);
  return dir;
}

const text = (value: string) => new TextEncoder().encode(value);
const indexFile = 'model.safetensors.index.json';
const withIndex = (index: string, shards: Record<string, Map<string, Tensor>> = {}) => {
  const files = tinyFiles();
  files.delete('model.safetensors');
  files.set(indexFile, text(index));
  for (const [name, tensors] of Object.entries(shards))
    files.set(name, serializeSafetensors(tensors));
  return files;
};
const mapOf = (...names: string[]) =>
  JSON.stringify({ weight_map: Object.fromEntries(names.map((name, i) => [`t${i}`, name])) });

const folders: Record<string, [field: string, files: Map<string, Uint8Array>]> = {
  'a folder without config.json': ['config.json', new Map([...tinyFiles()].slice(1))],
  'a folder without weights': ['model.safetensors', new Map([...tinyFiles()].slice(0, 1))],
  'a config.json that is not JSON': ['config.json', tinyFiles().set('config.json', text('{'))],
  'a config.json that is a list': ['config.json', tinyFiles().set('config.json', text('[]'))],
  'a config.json that is not UTF-8': [
    'config.json',
    tinyFiles().set('config.json', Uint8Array.of(255)),
  ],
  'heads that the runtime cannot attend with': [
    'head_dim',
    tinyFiles().set('config.json', text(JSON.stringify({ ...TINY_CONFIG, head_dim: 12 }))),
  ],
  'a tokenizer.json that is cut off': [
    'tokenizer.json',
    tinyFiles().set('tokenizer.json', text('{"model":{"vocab":{')),
  ],
  'defaults out of range': [
    'generation_config.json: temperature',
    tinyFiles().set('generation_config.json', text('{"temperature":-5}')),
  ],
  'an index without a map': [indexFile, withIndex('{}')],
  'an index that leaves its folder': [indexFile, withIndex(mapOf('../secret.safetensors'))],
  'an index that names no safetensors': [indexFile, withIndex(mapOf('pytorch_model.bin'))],
  'a shard that is absent': ['a.safetensors', withIndex(mapOf('a.safetensors'))],
  'a tensor in two shards': [
    'model.norm.weight',
    withIndex(mapOf('a.safetensors', 'b.safetensors'), {
      'a.safetensors': tinyTensors(),
      'b.safetensors': new Map([...tinyTensors()].filter(([name]) => name === 'model.norm.weight')),
    }),
  ],
  'weights that are not safetensors': [
    'model.safetensors',
    tinyFiles().set('model.safetensors', text('PK'.repeat(99))),
  ],
  'a damaged shard': [
    'b.safetensors',
    withIndex(mapOf('a.safetensors', 'b.safetensors'), {
      'a.safetensors': tinyTensors(),
    }).set('b.safetensors', serializeSafetensors(tinyTensors()).subarray(0, -9)),
  ],
  'a number that overflows in float32': [
    'rms_norm_eps',
    tinyFiles().set('config.json', text(JSON.stringify({ ...TINY_CONFIG, rms_norm_eps: 1e308 }))),
  ],
};

for (const [what, [field, files]] of Object.entries(folders)) {
  test(`${what} is rejected by name`, async () => {
    const out = path.join(work, `out-${count++}`);
    await assert.rejects(importModel(createFolder(files), out, NF4), (error) => {
      assert.ok(error instanceof FileError, String(error));
      assert.equal(error.field, field);
      return true;
    });
  });
}

/** Creates an artifact. `change` damages its tensors. */
async function spoiledArtifact(change: (tensors: Map<string, Tensor>) => void): Promise<string> {
  const out = path.join(work, `out-${count++}`);
  await importModel(createFolder(tinyFiles()), out, NF4);
  const file = path.join(out, 'model.safetensors');
  const source = openSafetensors(file);
  const tensors = new Map([...source.infos.keys()].map((name) => [name, source.read(name)]));
  source.close();
  change(tensors);
  writeFileSync(file, serializeSafetensors(tensors));
  return out;
}

const state = (changes: object) => (tensors: Map<string, Tensor>) => {
  const json = JSON.parse(new TextDecoder().decode(tensors.get(STATE)!.data)) as object;
  const data = text(JSON.stringify({ ...json, ...changes }));
  tensors.set(STATE, { dtype: 'U8', shape: [data.length], data });
};
const cut = (name: string) => (tensors: Map<string, Tensor>) => {
  const { dtype, shape, data } = tensors.get(name)!;
  const half = Math.floor(shape[0]! / 2);
  const bytes = (data.length / shape[0]!) * half;
  tensors.set(name, { dtype, shape: [half, ...shape.slice(1)], data: data.subarray(0, bytes) });
};
const spoiled: Record<string, (tensors: Map<string, Tensor>) => void> = {
  'another block size': state({ blocksize: 128 }),
  'another codebook by name': state({ quant_type: 'fp4' }),
  'a shape that is not the model’s': state({ shape: [64, 96] }),
  'a state that is no JSON': (tensors) =>
    tensors.set(STATE, { dtype: 'U8', shape: [1], data: text('x') }),
  'codes that are cut short': cut(`${LINEAR}.weight`),
  'scales that are cut short': cut(`${LINEAR}.weight.absmax`),
  'a nested map that is cut short': cut(`${LINEAR}.weight.nested_quant_map`),
  'a codebook of other values': (tensors) =>
    tensors.get(`${LINEAR}.weight.quant_map`)!.data.fill(0),
  'scales that are missing': (tensors) => tensors.delete(`${LINEAR}.weight.nested_absmax`),
};

for (const [what, change] of Object.entries(spoiled)) {
  test(`quantized weights with ${what} are rejected`, async () => {
    const out = await spoiledArtifact(change);
    assert.throws(() => {
      const artifact = readArtifact(out);
      try {
        readLinear(artifact, LINEAR);
      } finally {
        artifact.tensors.close();
      }
    }, FileError);
  });
}

test('a folder that is not an artifact is rejected by the name of the missing file', () => {
  assert.throws(() => readArtifact(createFolder(tinyFiles())), /lorikeet\.json: is absent/);
});

test('the tensors of an artifact are aligned', async () => {
  const out = path.join(work, `out-${count++}`);
  await importModel(createFolder(tinyFiles()), out, NF4);
  const bytes = new Uint8Array(readFileSync(path.join(out, 'model.safetensors')));
  for (const [name, { dtype, data }] of parseSafetensors(bytes).tensors) {
    if (dtype === 'F32') assert.equal((data.byteOffset - bytes.byteOffset) % 4, 0, name);
  }
});

test('an impossible size in config.json is rejected at once by its name', async () => {
  for (const field of ['num_hidden_layers', 'hidden_size', 'vocab_size', 'intermediate_size']) {
    const config = JSON.parse(new TextDecoder().decode(tinyFiles().get('config.json')));
    const folder = createFolder(
      tinyFiles().set('config.json', text(JSON.stringify({ ...config, [field]: 1e9 }))),
    );
    const start = performance.now();
    await assert.rejects(
      importModel(folder, path.join(work, `out-${count++}`), NF4),
      new RegExp(`${field}: .*from 1 to \\d+`),
    );
    assert.ok(performance.now() - start < 5000, 'before anything is allocated');
  }
});

test('a pipe instead of any file is rejected without waiting for its writer', async (t) => {
  const hasMkfifo = spawnSync('mkfifo', ['--version']).status === 0;
  if (!hasMkfifo) return t.skip('mkfifo is not installed');
  const pipes = ['config.json', 'model.safetensors', 'tokenizer.json'];
  for (const name of pipes) {
    const files = tinyFiles();
    files.delete(name);
    const folder = createFolder(files);
    assert.equal(spawnSync('mkfifo', [path.join(folder, name)]).status, 0);
    const out = path.join(work, `out-${count++}`);
    const fault = new RegExp(`${name}: is not a regular file`);
    await assert.rejects(importModel(folder, out, NF4), fault);
  }
  const pipe = path.join(work, 'pipe.gguf');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  const out = path.join(work, `out-${count++}`);
  await assert.rejects(importModel(pipe, out, NF4), /pipe\.gguf: is not a regular file/);
  assert.throws(() => openSafetensors(pipe), FileError);
  assert.throws(() => mapFile(pipe), FileError);
  await assert.rejects(hashFile(pipe), FileError);
});
