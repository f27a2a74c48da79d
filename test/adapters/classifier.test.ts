// Adapters with a classification head: what is read, and what is refused by name.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parseAdapter } from '../../adapters/peft/parse-adapter.ts';
import { readAdapterLabels } from '../../adapters/registry/folders.ts';
import { describeContent, toManifest } from '../../adapters/repository/content.ts';
import type { Tensor } from '../../src/common/tensor.ts';
import { serializeSafetensors } from '../../src/formats/safetensors.ts';
import { temporaryFolder } from '../fixtures.ts';
import { adapterBytes, configBytes, filled, MODEL, sampleTensors } from './sample.ts';

const SEQ_CLS = { task_type: 'SEQ_CLS', modules_to_save: ['classifier', 'score'] };
const SCORE = 'base_model.model.score.weight';
const OTHER = 'base_model.model.classifier.weight';
const BIAS = 'base_model.model.score.bias';
const { hiddenSize } = MODEL;
const head = (labels: number, width = hiddenSize) => filled([labels, width], 'F16', (i) => i / 64);
/** A head needs no weights of the base. */
const BASE = {
  rowNorms: () => assert.fail('not needed'),
  vector: () => assert.fail('not needed'),
};

function parse(changes: object, heads: Readonly<Record<string, Tensor>>) {
  const tensors = new Map([...sampleTensors(), ...Object.entries(heads)]);
  const bytes = adapterBytes(configBytes({ ...changes }), serializeSafetensors(tensors));
  return parseAdapter(bytes, MODEL, BASE);
}

test('a head is read with its labels, under either name', async () => {
  for (const name of [SCORE, OTHER]) {
    const changes = { ...SEQ_CLS, id2label: { 0: 'bad', 2: 'good' } };
    const { classifier, byteSize } = await parse(changes, { [name]: head(3) });
    assert.deepEqual(classifier!.labels, ['bad', 'LABEL_1', 'good']);
    assert.deepEqual([...classifier!.weight.slice(0, 3)], [0, 1 / 64, 2 / 64]);
    const { byteSize: plain } = await parse({}, {});
    assert.equal(byteSize - plain, 3 * hiddenSize * 4);
  }
  assert.equal((await parse({}, {})).classifier, undefined);
});

test('its manifest and a folder name its classes; other adapters have none', async (t) => {
  const labelsOf = async (changes: object, heads: Readonly<Record<string, Tensor>>) => {
    const config = configBytes({ ...changes });
    const weights = serializeSafetensors(new Map([...sampleTensors(), ...Object.entries(heads)]));
    const content = await describeContent(config, weights);
    const version = { tenant: 'acme', name: 'a', version: 1 };
    const manifest = toManifest(version, content, { createdMs: 0 });
    const directory = temporaryFolder(t);
    writeFileSync(path.join(directory, 'adapter_config.json'), config);
    const folder = await readAdapterLabels({ kind: 'folder', directory, rank: 4 });
    assert.deepEqual(folder, await readAdapterLabels({ kind: 'version', manifest }));
    return folder;
  };
  const named = { ...SEQ_CLS, id2label: { 0: 'bad', 2: 'good' } };
  assert.deepEqual(await labelsOf(named, { [SCORE]: head(3) }), ['bad', 'LABEL_1', 'good']);
  assert.deepEqual(await labelsOf(SEQ_CLS, { [SCORE]: head(3) }), []);
  assert.equal(await labelsOf({}, {}), undefined);
});

const REFUSED: Readonly<Record<string, [object, Readonly<Record<string, Tensor>>, string]>> = {
  'without a head': [SEQ_CLS, {}, SCORE],
  'with two heads': [SEQ_CLS, { [SCORE]: head(2), [OTHER]: head(2) }, OTHER],
  'of another width': [SEQ_CLS, { [SCORE]: head(2, hiddenSize + 1) }, SCORE],
  'of too many labels': [SEQ_CLS, { [SCORE]: head(1025) }, SCORE],
  'whose task is another one': [{}, { [SCORE]: head(2) }, SCORE],
  'with a bias': [SEQ_CLS, { [SCORE]: head(2), [BIAS]: filled([2], 'F32', () => 1) }, BIAS],
  'of tokens': [{ ...SEQ_CLS, task_type: 'TOKEN_CLS' }, { [SCORE]: head(2) }, 'task_type'],
  'that an invocation activates': [
    { ...SEQ_CLS, alora_invocation_tokens: [1] },
    { [SCORE]: head(2) },
    'alora_invocation_tokens',
  ],
};

for (const [what, [changes, heads, param]] of Object.entries(REFUSED)) {
  test(`a classifier ${what} is refused by name`, async () => {
    await assert.rejects(parse(changes, heads), { name: 'ServeError', param });
  });
}
