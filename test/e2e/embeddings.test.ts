// Embeddings over HTTP equal those that transformers and peft give, for tiny models and adapters with the same weights.
import assert from 'node:assert/strict';
import path from 'node:path';
import type { EmbeddingList } from '../../src/contracts/openai.ts';
import { ask } from '../api.ts';
import { importBase } from '../imported-base.ts';
import { sharedPath, skipUnless, testUnless } from '../shared.ts';
import { serveFor } from './program.ts';
import { pythonJson, skipWithout } from './python.ts';

const LIMIT = 2e-4;
const golden = sharedPath('golden');
const skip = skipUnless(golden) || skipWithout('torch', 'transformers', 'peft');
const test = testUnless(skip);

/** Model → the adapters that were made for it. */
const MODELS: Readonly<Record<string, readonly string[]>> = {
  'llama-tied': ['qv', 'all-linear', 'rslora'],
  'llama-rope-llama3': [],
  mistral: [],
  qwen2: [],
  qwen3: ['qwen3-all'],
};
const PROMPTS = [[3], [5, 17, 90, 41], Array.from({ length: 70 }, (_, i) => (7 * i + 3) % 120)];

interface Expected {
  /** By model name, pooling and prompt. */
  readonly [model: string]: Readonly<Record<'mean' | 'last', readonly (readonly number[])[]>>;
}

for (const [base, adapters] of Object.entries(MODELS)) {
  test(`${base} and ${adapters.length} adapters have the embeddings of transformers and peft`, async (t) => {
    const source = path.join(golden!, 'models', base);
    const folder = path.join(golden!, 'adapters');
    const model = await importBase(t, source);
    const script = path.resolve('test/e2e/embed.py');
    const folders = adapters.map((name) => path.join(folder, name));
    const expected = pythonJson<Expected>([script, source, JSON.stringify(PROMPTS), ...folders]);
    const args = ['--model', model, '--weights', 'f32', '--adapters', folder];
    const serving = await serveFor(t, [...args, '--kv', 'f32']);
    for (const name of ['base', ...adapters]) {
      for (const pooling of ['mean', 'last'] as const) {
        const body = { model: name, input: PROMPTS, pooling };
        const { data } = await ask<EmbeddingList>(`${serving.url}/v1/embeddings`, body);
        const want = expected[name]![pooling];
        assert.equal(data.length, want.length);
        data.forEach(({ embedding }, i) => {
          const differences = want[i]!.map((value, k) => Math.abs(value - Number(embedding[k])));
          const worst = Math.max(...differences);
          assert.ok(worst < LIMIT, `${name}, ${pooling}, prompt ${i} is off by ${worst}`);
        });
      }
    }
  });
}
