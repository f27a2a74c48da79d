// Adapters that are more than updates of linears: their gradients, and the base that they leave alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectedTensors } from '../../src/model/names.ts';
import { drawAdapter } from '../../trainer/adapter/initial-weights.ts';
import { withoutAdapter } from '../../trainer/evaluation/losses.ts';
import type { LoraSettings, ModuleUpdate, Parameter } from '../../trainer/types.ts';
import { seededRandom, type TinyModel, tinyModel } from '../fixtures.ts';
import { batchOf, checkGradients, lora, padRows, trainModel } from './tiny-training.ts';

const SMALL = { hidden_size: 32, intermediate_size: 48, vocab_size: 40 };
const QWEN2 = { ...SMALL, model_type: 'qwen2' };

test('whole biases, norms and tables of the base have gradients, and start as the base', async (t) => {
  const tiny = tinyModel({ ...QWEN2, tie_word_embeddings: false });
  const names = [...expectedTensors(tiny.config).keys()].filter(
    (name) => /norm|bias|embed_tokens|lm_head/.test(name) && !name.includes('layers.1.mlp'),
  );
  assert.ok(names.some((name) => name.endsWith('k_proj.bias')));
  const whole = new Map(names.map((name) => [name, `base_model.model.${name}`]));
  const model = trainModel(t, tiny, { adapter: { ...lora(tiny.config), whole } });
  const batch = batchOf(tiny.config, [9, 12]);
  await checkGradients(model, batch);
  const base = trainModel(t, tiny);
  const expected = await base.evaluate(batch);
  for (const { data } of model.parameters) data.fill(0.1);
  assert.notEqual((await model.evaluate(batch)).loss, expected.loss);
  assert.deepEqual(await withoutAdapter(model.parameters, () => model.evaluate(batch)), expected);
});

/** An adapter on all linears whose updates are of a kind. */
function adapterOf({ config }: TinyModel, kind: Partial<ModuleUpdate>): LoraSettings {
  const plain = lora(config);
  const modules = new Map([...plain.modules].map(([name, m]) => [name, { ...m, ...kind }]));
  return { modules, init: new Map([...drawAdapter({ modules }, config, 1), ...plain.init]) };
}

function disturb(parameters: readonly Parameter[]): void {
  const random = seededRandom(4);
  for (const { data } of parameters)
    data.set(data.map((value) => value * (1 + 0.3 * random()) + 0.05 * random()));
}

for (const [base, changes] of [
  ['llama', SMALL],
  ['qwen2 with biases', QWEN2],
] as const) {
  test(`DoRA on ${base}: gradients are those of finite differences with constant norms`, async (t) => {
    const tiny = tinyModel(changes);
    const adapter = adapterOf(tiny, { isDora: true });
    const model = trainModel(t, tiny, { adapter });
    const batch = batchOf(tiny.config, [9, 12]);
    const plain = trainModel(t, tiny, { adapter: lora(tiny.config) });
    const isClose = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-3, `${a}, ${b}`);
    await withoutAdapter(model.parameters, async () => {
      await withoutAdapter(plain.parameters, async () => {
        isClose((await model.evaluate(batch)).loss, (await plain.evaluate(batch)).loss);
      });
    });
    disturb(model.parameters);
    const rescale = keepFactors(model.parameters, tiny, adapter);
    await checkGradients(model, batch, rescale);
  });
}

const KINDS: readonly (readonly [name: string, kind: Partial<ModuleUpdate>])[] = [
  ['biases of B', { hasBias: true }],
  ['PiSSA', { isPissa: true }],
  ['activated LoRA', { isActivated: true }],
  ['activated LoRA from PiSSA', { isActivated: true, isPissa: true }],
];

for (const [name, kind] of KINDS) {
  test(`${name}: gradients are those of finite differences`, async (t) => {
    const tiny = tinyModel(QWEN2);
    const batch = batchOf(tiny.config, [9, 12]);
    const invocation = [...batch.inputIds.subarray(4, 6)];
    const adapter = { ...adapterOf(tiny, kind), ...(kind.isActivated && { invocation }) };
    const model = trainModel(t, tiny, { adapter });
    disturb(model.parameters);
    await checkGradients(model, batch);
  });
}

test('PiSSA starts as the base, from a weight without its largest singular vectors', async (t) => {
  const tiny = tinyModel(SMALL);
  const { modules } = lora(tiny.config);
  const pissa = new Map([...modules].map(([name, m]) => [name, { ...m, isPissa: true }]));
  const model = trainModel(t, tiny, { adapter: { modules: pissa, init: new Map() } });
  const batch = batchOf(tiny.config, [9, 12]);
  const expected = await trainModel(t, tiny).evaluate(batch);
  assert.ok(Math.abs((await model.evaluate(batch)).loss - expected.loss) < 1e-4);
  for (const [module, { rank, scaling }] of modules) {
    const [a, b] = ['A', 'B'].map(
      (factor) =>
        model.parameters.find(
          (p) => p.name === `base_model.model.${module}.lora_${factor}.weight`,
        )!,
    );
    const inSize = a!.shape[1]!;
    const outSize = b!.shape[0]!;
    const row = (k: number) => a!.data.subarray(k * inSize, (k + 1) * inSize);
    const column = (k: number) => b!.data.filter((_, i) => i % rank === k);
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
    const weight = tiny.weights(`${module}.weight`);
    for (let k = 0; k < rank; k++) {
      // W v = s u, for the unit vectors v = row / |row| and u = column / |column|, and s = scaling * |row| * |column|.
      const singular = scaling * dot(row(k), row(k));
      for (let out = 0; out < outSize; out++) {
        const image = dot(weight.subarray(out * inSize, (out + 1) * inSize), row(k));
        assert.ok(Math.abs(image - singular * column(k)[out]!) < 1e-4 * singular, module);
      }
      if (k > 0) assert.ok(Math.abs(dot(row(k), row(k - 1))) < 1e-4, 'orthogonal');
      if (k > 0) assert.ok(dot(row(k), row(k)) < dot(row(k - 1), row(k - 1)), 'largest first');
    }
  }
});

test('an activated LoRA changes nothing before the last invocation of each example', async (t) => {
  const tiny = tinyModel(SMALL);
  const ids = [1, 7, 9, 3, 4, 7, 9, 5, 6, 2];
  const row = (tokens: number[]) => {
    const targets = tokens.map(() => -1);
    return { ids: tokens, targets, weights: targets.map(() => 1) };
  };
  // The second row has two examples: without and with the invocation.
  const batch = padRows([[row(ids)], [row([1, 2, 3, 7]), row([9, 7, 9, 8])]]);
  const adapter = { ...adapterOf(tiny, { isActivated: true }), invocation: [7, 9] };
  const model = trainModel(t, tiny, { adapter });
  const plain = trainModel(t, tiny, { adapter: lora(tiny.config) });
  const base = await withoutAdapter(plain.parameters, () => plain.logits(batch));
  const logits = await model.logits(batch);
  const { vocabSize } = tiny.config;
  const isBase = (token: number) => {
    const [from, to] = [token * vocabSize, (token + 1) * vocabSize];
    return base.subarray(from, to).every((value, i) => Math.abs(value - logits[from + i]!) < 1e-4);
  };
  const active = Array.from({ length: 20 }, (_, token) => !isBase(token));
  const [first, second] = [active.slice(0, 10), active.slice(10, 18)];
  assert.deepEqual(
    first,
    ids.map((_, i) => i >= 5),
  );
  assert.deepEqual(second, [false, false, false, false, false, true, true, true]);
});

/** Returns a function that scales DoRA's magnitudes after a step of A or B such that they stay the same multiple of the norms. */
function keepFactors(
  parameters: readonly Parameter[],
  tiny: TinyModel,
  { modules }: LoraSettings,
): (name: string) => void {
  const dataOf = (name: string) => parameters.find((p) => p.name === name)!.data;
  const linears = [...modules].map(([module, { rank, scaling }]) => {
    const prefix = `base_model.model.${module}.lora_`;
    const [a, b, m] = ['A.weight', 'B.weight', 'magnitude_vector'].map((end) =>
      dataOf(prefix + end),
    );
    const weight = tiny.weights(`${module}.weight`);
    const inSize = weight.length / m!.length;
    const norms = () =>
      m!.map((_, row) => {
        let sum = 0;
        for (let i = 0; i < inSize; i++) {
          let value = weight[row * inSize + i]!;
          for (let k = 0; k < rank; k++)
            value += scaling * b![row * rank + k]! * a![k * inSize + i]!;
          sum += value * value;
        }
        return Math.sqrt(sum);
      });
    const before = norms();
    return { m: m!, norms, first: m!.map((value, row) => value / before[row]!) };
  });
  return (name) => {
    if (name.endsWith('magnitude_vector')) return;
    for (const { m, norms, first } of linears)
      m.set(norms().map((norm, row) => norm * first[row]!));
  };
}
