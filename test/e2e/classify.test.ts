// A sequence classifier that peft made is served at POST /classify with the scores that transformers gives.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import type { ClassificationList } from '../../src/contracts/openai.ts';
import { ask } from '../api.ts';
import { temporaryFolder } from '../fixtures.ts';
import { importBase } from '../imported-base.ts';
import { sharedPath, skipUnless } from '../shared.ts';
import { serveFor } from './program.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 2e-4;
const models = sharedPath('golden', 'models');
const skip = skipUnless(models) || skipWithout('torch', 'transformers', 'peft');
const PROMPTS = [
  [3],
  [5, 17, 90, 41],
  Array.from({ length: 70 }, (_, i) => 1 + ((7 * i + 3) % 120)),
];

for (const [base, kind] of [
  ['llama-tied', 'lora'],
  ['qwen3', 'lora'],
  ['llama-tied', 'loha'],
  ['llama-tied', 'lokr'],
  ['llama-tied', 'lokr-both'],
] as const) {
  const title = `${base}: a classifier of peft (${kind}) has the scores of transformers`;
  test(title, { skip }, async (t) => {
    const source = path.join(models!, base);
    const adapters = temporaryFolder(t);
    const script = path.resolve('test/e2e/classify.py');
    const folder = path.join(adapters, 'mood');
    const made = [script, source, kind, JSON.stringify(PROMPTS), folder];
    const expected = pythonJson<number[][]>(made);
    const model = await importBase(t, source);
    const args = ['--model', model, '--weights', 'f32', '--kv', 'f32', '--adapters', adapters];
    const serving = await serveFor(t, args);
    const body = { model: 'mood', input: PROMPTS, use_activation: false };
    const { data } = await ask<ClassificationList>(`${serving.url}/classify`, body);
    assert.equal(data.length, PROMPTS.length);
    data.forEach(({ probs, label }, i) => {
      const worst = Math.max(...expected[i]!.map((score, k) => Math.abs(score - probs[k]!)));
      assert.ok(worst < LIMIT, `prompt ${i} is off by ${worst}`);
      const best = expected[i]!.indexOf(Math.max(...expected[i]!));
      assert.equal(label, `LABEL_${best}`);
    });
  });
}
