import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { toFloat32 } from '../../src/common/tensor.ts';
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.ts';
import { type Artifact, readArtifact, readLinear } from '../../src/import/artifact.ts';
import { openFolder } from '../../src/import/folder.ts';
import { importModel } from '../../src/import/import-model.ts';
import { moduleName, TARGETS_OF } from '../../src/model/target-modules.ts';
import { doubleQuantize, restoreAbsmax } from '../../src/quant/double-quant.ts';
import { dequantizeNf4 } from '../../src/quant/nf4.ts';
import { temporaryFolder } from '../fixtures.ts';
import { plainAbsmax, plainPacked } from '../quant/plain-nf4.ts';
import { sharedPath, skipUnless } from '../shared.ts';

const golden = sharedPath('golden');
const skip = skipUnless(golden);
const work = temporaryFolder();

const MODELS = [
  'llama-tied',
  'llama-rope-llama3',
  'llama-rope-linear',
  'llama-sharded',
  'llama-fp16',
  'llama-bf16',
  'mistral',
  'qwen2',
  'qwen3',
];
type Kind = { quantization: 'nf4' | 'none'; doubleQuantization: boolean };
const plain: Kind = { quantization: 'nf4', doubleQuantization: false };
const double: Kind = { quantization: 'nf4', doubleQuantization: true };
const none: Kind = { quantization: 'none', doubleQuantization: true };

async function imported(source: string, kind: Kind): Promise<Artifact> {
  const out = path.join(work, `${path.basename(source)}-${Object.values(kind).join('-')}`);
  await importModel(source, out, { ...kind, hub: { cacheDir: work } });
  return readArtifact(out);
}

/** The module names of all linear layers of the decoder blocks. */
function linearNames({ config }: Artifact): string[] {
  const layers = Array.from({ length: config.layerCount }, (_, layer) => layer);
  return layers.flatMap((layer) => TARGETS_OF.separate.map((target) => moduleName(layer, target)));
}

for (const name of MODELS) {
  test(`${name}: codes and scales follow the formula, and all other tensors keep their bits`, {
    skip,
  }, async () => {
    const folder = path.join(golden!, 'models', name);
    const { tensors: source } = openFolder(folder);
    for (const kind of [plain, double]) {
      const artifact = await imported(folder, kind);
      const linears = linearNames(artifact);
      for (const linear of linears) {
        const values = toFloat32(source.read(`${linear}.weight`));
        const found = readLinear(artifact, linear);
        assert.ok(found.kind === 'nf4');
        assert.deepEqual([found.rows, found.cols], source.infos.get(`${linear}.weight`)!.shape);
        assert.deepEqual(found.packed, plainPacked(values), linear);
        const absmax = plainAbsmax(values);
        const scales = kind.doubleQuantization ? restoreAbsmax(doubleQuantize(absmax)) : absmax;
        assert.deepEqual(found.absmax, scales, linear);
      }
      for (const kept of source.infos.keys()) {
        if (linears.includes(kept.replace(/\.weight$/, ''))) continue;
        assert.deepEqual(artifact.tensors.read(kept), source.read(kept), kept);
      }
      artifact.tensors.close();
    }
    source.close();
  });
}

test('without quantization all tensors keep their bits', { skip }, async () => {
  for (const name of ['llama-bf16', 'qwen3', 'llama-sharded']) {
    const folder = path.join(golden!, 'models', name);
    const { tensors: source } = openFolder(folder);
    const artifact = await imported(folder, none);
    assert.equal(artifact.info.quantization, 'none');
    assert.deepEqual([...artifact.tensors.infos.keys()].sort(), [...source.infos.keys()].sort());
    for (const kept of source.infos.keys()) {
      const [{ dtype, shape, data }, expected] = [artifact.tensors.read(kept), source.read(kept)];
      assert.deepEqual({ dtype, shape, data }, expected);
    }
    artifact.tensors.close();
    source.close();
  }
});

test('shards give the same base as one file', { skip }, async () => {
  const { tensors, configText } = openFolder(path.join(golden!, 'models', 'llama-sharded'));
  const single = path.join(work, 'single');
  mkdirSync(single);
  writeFileSync(path.join(single, 'config.json'), configText);
  await writeSafetensors(path.join(single, 'model.safetensors'), tensors);
  tensors.close();
  const a = await imported(single, double);
  const b = await imported(path.join(golden!, 'models', 'llama-sharded'), double);
  assert.equal(a.info.digest, b.info.digest);
  a.tensors.close();
  b.tensors.close();
});

test('a checkpoint of bitsandbytes is kept unchanged, or expands to its exact values', {
  skip,
}, async () => {
  const folder = path.join(golden!, 'nf4', 'bnb-checkpoint');
  const source = openSafetensors(path.join(folder, 'model.safetensors'));
  const kept = await imported(folder, plain);
  assert.ok(kept.info.quantization === 'nf4' && kept.info.doubleQuantization);
  assert.deepEqual([...kept.tensors.infos.keys()].sort(), [...source.infos.keys()].sort());
  for (const name of source.infos.keys()) {
    assert.deepEqual(kept.tensors.read(name), source.read(name), name);
  }
  const expanded = await imported(folder, none);
  const values = openSafetensors(path.join(folder, 'dequantised.safetensors'));
  for (const name of values.infos.keys()) {
    const linear = readLinear(kept, name.replace(/\.weight$/, ''));
    assert.ok(linear.kind === 'nf4');
    const { packed, absmax, rows, cols } = linear;
    const expected = toFloat32(values.read(name));
    assert.deepEqual(dequantizeNf4(packed, absmax, rows * cols), expected, name);
    assert.deepEqual(toFloat32(expanded.tensors.read(name)), expected, name);
  }
  assert.equal(expanded.configJson['quantization_config'], undefined);
  for (const open of [source, values, kept.tensors, expanded.tensors]) open.close();
});
