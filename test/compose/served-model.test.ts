import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/common/errors.ts';
import { baseGenerationConfig } from '../../src/compose/served-model.ts';
import { temporaryFolder } from '../fixtures.ts';

/** A folder with this generation_config.json, or without one. */
function folder(t: TestContext, content?: string): string {
  const dir = temporaryFolder(t);
  if (content !== undefined) writeFileSync(path.join(dir, 'generation_config.json'), content);
  return dir;
}

const base = (dir: string, source = './some-base') => ({ dir, info: { source } });
/** As transformers writes it. */
const QWEN = JSON.stringify({
  bos_token_id: 151643,
  do_sample: true,
  eos_token_id: [151645, 151643],
  repetition_penalty: 1.1,
  temperature: 0.7,
  top_k: 20,
  top_p: 0.8,
  min_p: null,
  max_new_tokens: 512,
  transformers_version: '4.37.0',
});
const QWEN_SAMPLING = {
  repetition_penalty: 1.1,
  temperature: 0.7,
  top_k: 20,
  top_p: 0.8,
  max_tokens: 512,
};
const SMOLLM2 = { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1 };

test("auto reads the base's own file", async (t) => {
  assert.deepEqual(await baseGenerationConfig('auto', base(folder(t, QWEN))), QWEN_SAMPLING);
  assert.deepEqual(await baseGenerationConfig('auto', base(folder(t))), {});
});

test('auto knows bases of the catalogue by their source, imported by name or by hub id', async (t) => {
  const dir = folder(t, '{"eos_token_id": 2}');
  for (const source of [
    'smollm2-135m-instruct',
    'smollm2-135m-instruct-q4',
    'HuggingFaceTB/SmolLM2-135M-Instruct',
  ]) {
    assert.deepEqual(await baseGenerationConfig('auto', base(dir, source)), SMOLLM2, source);
  }
  const named = folder(t, '{"temperature": 0.4}');
  const { temperature } = await baseGenerationConfig('auto', base(named, 'smollm2-135m-instruct'));
  assert.equal(temperature, 0.4);
});

test('vllm is no defaults, and a folder is read in place of the base', async (t) => {
  const smollm2 = base(folder(t, '{"top_k": 3}'), 'smollm2-135m-instruct');
  assert.deepEqual(await baseGenerationConfig('vllm', smollm2), {});
  assert.deepEqual(await baseGenerationConfig(folder(t, QWEN), smollm2), QWEN_SAMPLING);
});

test('a folder without the file and a faulty file are wrong settings, by name', async (t) => {
  const cases: [string, RegExp][] = [
    [folder(t), /has no generation_config\.json\. Use auto, vllm or a folder/],
    [folder(t, '{'), /generation_config\.json: is not valid JSON/],
    [
      folder(t, '{"temperature": "hot"}'),
      /generation_config\.json: temperature: .*expected number/,
    ],
    [folder(t, '{"top_p": 0}'), /generation_config\.json: top_p/],
    [folder(t, '[]'), /generation_config\.json: .*expected object/],
  ];
  for (const [setting, pattern] of cases) {
    await assert.rejects(baseGenerationConfig(setting, base(folder(t))), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /^--generation-config: /);
      assert.match(error.message, pattern);
      return true;
    });
  }
});
