// Different ways to the same gradients: how examples are batched and packed, what is kept, how many blocks a graph holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromFloat32, type Tensor, toFloat32 } from '../../src/common/tensor.ts';
import { embeddingName } from '../../src/model/names.ts';
import { worstDifference } from '../engine/runner.ts';
import { tinyModel } from '../fixtures.ts';
import { batchOf, examples, gradientsOf, lora, padRows, trainModel } from './tiny-training.ts';

const LENGTHS = [9, 14, 6, 11, 7, 13, 5, 12, 10, 8, 14, 6, 9, 5, 7, 11];

type Result = Awaited<ReturnType<typeof gradientsOf>>;

function assertSame(got: Result, want: Result, limit: number): void {
  assert.equal(got.sums.count, want.sums.count);
  assert.equal(got.sums.hits, want.sums.hits);
  const loss = got.sums.loss / got.sums.weight;
  assert.ok(Math.abs(loss - want.sums.loss / want.sums.weight) <= limit);
  for (const [name, gradient] of got.gradients) {
    const scaled = (values: Float32Array) => values.map((value) => value / want.sums.weight);
    const difference = worstDifference(scaled(gradient), scaled(want.gradients.get(name)!));
    assert.ok(difference <= limit, `${name}: off by ${difference}`);
  }
}

test('16 rows at once, 2 x 8 and 16 x 1 give the same loss and gradients', async (t) => {
  const tiny = tinyModel();
  const model = trainModel(t, tiny, { adapter: lora(tiny.config) });
  const all = examples(tiny.config, LENGTHS).map((example) => [example]);
  const whole = await gradientsOf(model, [padRows(all)]);
  const halves = await gradientsOf(model, [padRows(all.slice(0, 8)), padRows(all.slice(8))]);
  const singles = await gradientsOf(
    model,
    all.map((row) => padRows([row])),
  );
  assertSame(halves, whole, 1e-5);
  assertSame(singles, whole, 1e-5);
});

for (const changes of [{}, { model_type: 'mistral', sliding_window: 5 }]) {
  const kind = 'sliding_window' in changes ? 'a sliding window' : 'full attention';
  test(`packed examples do not see each other: same loss and gradients, with ${kind}`, async (t) => {
    const tiny = tinyModel(changes);
    const model = trainModel(t, tiny);
    const rows = examples(tiny.config, LENGTHS.slice(0, 6));
    const apart = await gradientsOf(model, [padRows(rows.map((example) => [example]))]);
    const packed = await gradientsOf(model, [padRows([rows.slice(0, 4), rows.slice(4)])]);
    assertSame(packed, apart, 1e-5);
  });
}

for (const method of ['lora', 'full'] as const) {
  test(`${method}: kept activations give what recomputed ones give`, async (t) => {
    const tiny = tinyModel({ num_hidden_layers: 3, model_type: 'qwen3' });
    const adapter = method === 'lora' ? lora(tiny.config) : undefined;
    const batches = [batchOf(tiny.config, [9, 12]), batchOf(tiny.config, [4, 5, 6], 2)];
    // Full training writes its weights' own tensors: each model reads them anew.
    const recomputed = await gradientsOf(trainModel(t, tiny, { adapter, savedBytes: 0 }), batches);
    const kept = await gradientsOf(trainModel(t, tiny, { adapter, recompute: false }), batches);
    assertSame(kept, recomputed, 1e-6);
    // Room for one or two of three segments.
    const some = await gradientsOf(trainModel(t, tiny, { adapter, savedBytes: 120_000 }), batches);
    assert.deepEqual(some, recomputed);
  });

  test(`${method}: two blocks in a graph give what one gives, also where one is left`, async (t) => {
    const tiny = tinyModel({ num_hidden_layers: 3 });
    const adapter = method === 'lora' ? lora(tiny.config) : undefined;
    const batches = [batchOf(tiny.config, [9, 12])];
    const one = await gradientsOf(trainModel(t, tiny, { adapter, savedBytes: 0 }), batches);
    for (const recompute of [true, false]) {
      const two = trainModel(t, tiny, { adapter, blocksPerSegment: 2, recompute });
      assertSame(await gradientsOf(two, batches), one, 1e-6);
    }
  });
}

test('layers without an adapter train nothing and change nothing', async (t) => {
  const tiny = tinyModel({ num_hidden_layers: 3 });
  const batches = [batchOf(tiny.config, [9, 12])];
  const all = lora(tiny.config);
  for (const layer of [0, 1, 2]) {
    const some = lora(tiny.config, (l) => (l === layer ? ['q_proj', 'down_proj'] : []));
    // B is 0 in both: what other layers' adapters add to the output is nothing.
    for (const [name, { data }] of [...all.init, ...some.init]) {
      if (name.includes('lora_B')) data.fill(0);
    }
    for (const [name] of some.init) {
      if (name.includes('lora_A'))
        (some.init as Map<string, unknown>).set(name, all.init.get(name));
    }
    const want = await gradientsOf(trainModel(t, tiny, { adapter: all }), batches);
    const got = await gradientsOf(trainModel(t, tiny, { adapter: some }), batches);
    assert.equal(got.gradients.size, 4);
    assertSame(got, want, 1e-6);
  }
});

test('rows of which nothing counts give no loss and no gradient', async (t) => {
  const tiny = tinyModel();
  const model = trainModel(t, tiny);
  const batch = batchOf(tiny.config, [7, 5]);
  const { sums, gradients } = await gradientsOf(model, [
    { ...batch, targets: batch.targets.map(() => -1) },
  ]);
  assert.deepEqual(sums, { loss: 0, weight: 0, count: 0, hits: 0 });
  for (const gradient of gradients.values()) assert.ok(gradient.every((value) => value === 0));
});

test('evaluation gives the loss and the hits of training', async (t) => {
  const tiny = tinyModel();
  const model = trainModel(t, tiny, { adapter: lora(tiny.config) });
  const batch = batchOf(tiny.config, LENGTHS);
  assert.deepEqual(await model.evaluate(batch), await model.accumulate(batch));
});

for (const dtype of ['BF16', 'F16'] as const) {
  test(`an embedding in ${dtype} is looked up as its values in float32 are`, async (t) => {
    const tiny = tinyModel({ num_hidden_layers: 2, tie_word_embeddings: false });
    const { config, artifact } = tiny;
    const table = artifact.tensors.read(embeddingName);
    const rounded = fromFloat32(toFloat32(table), table.shape, dtype);
    const withTable = (tensor: Tensor) => {
      const read = (name: string) =>
        name === embeddingName ? tensor : artifact.tensors.read(name);
      return { artifact: { ...artifact, tensors: { ...artifact.tensors, read } } };
    };
    const adapter = lora(config);
    const batches = [batchOf(config, [9, 12])];
    const float32 = fromFloat32(toFloat32(rounded), table.shape, 'F32');
    const [got, expected] = await Promise.all(
      [rounded, float32].map((each) =>
        gradientsOf(trainModel(t, withTable(each), { adapter }), batches),
      ),
    );
    assert.deepEqual(got, expected);
  });
}
