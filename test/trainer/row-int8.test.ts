// Products in the row form of int8 and their gradients, against plain code and against float32.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { quantizeRows, rowProduct } from '../../src/model/row-product.ts';
import { GraphBuilder, type Value } from '../../src/onnx/graph-builder.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor, type OrtTensor } from '../../src/ort/tensor.ts';
import { quantizeRowInt8 } from '../../src/quant/row-int8.ts';
import { appendBackward } from '../../trainer/autodiff/backward.ts';
import { rowInt8Input, rowProductRule } from '../../trainer/graph/row-int8.ts';
import { seededRandom, tinyModel } from '../fixtures.ts';
import { batchOf, gradientsOf, lora, trainModel } from './tiny-training.ts';

/** A matrix in plain arrays. */
type Matrix = readonly (readonly number[])[];

const transposed = (m: Matrix): number[][] => m[0]!.map((_, col) => m.map((row) => row[col]!));

/** Products of two matrices, in float64. */
function product(a: Matrix, b: Matrix): number[][] {
  const columns = transposed(b);
  return a.map((row) => columns.map((col) => row.reduce((sum, x, k) => sum + x * col[k]!, 0)));
}

/** Each row rounded to 255 levels of its largest magnitude. */
function roundedRows(m: Matrix): number[][] {
  return m.map((row) => {
    const scale = Math.fround(Math.max(...row.map(Math.abs)) * Math.fround(1 / 127));
    if (scale === 0) return row.map(() => 0);
    return row.map((x) => roundHalfEven(Math.fround(x / scale)) * scale);
  });
}

/** As ONNX's QuantizeLinear rounds. */
function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  if (x - below !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

interface Linear {
  readonly x: Matrix;
  /** [out, in] */
  readonly w: Matrix;
  readonly dy: Matrix;
}

/** y and dx in plain code. The weight is rounded once, per output; its scales multiply the columns of dy. */
function plainLinear({ x, w, dy }: Linear): { y: number[][]; dx: number[][] } {
  const rounded = roundedRows(w);
  const scales = w.map((row) => Math.fround(Math.max(...row.map(Math.abs)) / 127));
  const levels = rounded.map((row, out) =>
    row.map((v) => (scales[out]! === 0 ? 0 : v / scales[out]!)),
  );
  const scaled = dy.map((row) => row.map((v, out) => Math.fround(v * scales[out]!)));
  return {
    y: product(roundedRows(x), transposed(rounded)),
    dx: product(roundedRows(scaled), levels),
  };
}

function toTensor(m: Matrix): OrtTensor<'float32'> {
  return hostTensor('float32', [m.length, m[0]!.length], Float32Array.from(m.flat()));
}

/** y and dx as the trainer's graphs compute them. */
async function graphLinear({ x, w, dy }: Linear): Promise<{ y: Float32Array; dx: Float32Array }> {
  const [tokens, width, out] = [x.length, x[0]!.length, w.length];
  const g = new GraphBuilder();
  const input = g.input('x', 'float32', [tokens, width]);
  const seed = g.input('dy', 'float32', [tokens, out]);
  const weight = rowInt8Input(g, 'w', [out, width]);
  const y = rowProduct(g, quantizeRows(g, input), weight, 'y');
  const ownRules = new Map([[y, rowProductRule(input, weight)]]);
  const request = { seeds: new Map([[y, seed]]), wanted: [input], ownRules };
  const dx = appendBackward(g, new Map(), request).get(input) as Value;
  g.output(y, 'float32', [tokens, out]);
  g.output(dx, 'float32', [tokens, width]);
  const { data, scales } = quantizeRowInt8([Float32Array.from(w.flat())], width);
  const outputs = {
    [y]: hostTensor('float32', [tokens, out]),
    [dx]: hostTensor('float32', [tokens, width]),
  };
  using session = await createSession(g.toBytes(), { intraOpThreads: 1 });
  using binding = session.createBinding();
  binding.bindInput('x', toTensor(x));
  binding.bindInput('dy', toTensor(dy));
  binding.bindInput('w.int8', hostTensor('uint8', [width, out], Uint8Array.from(data)));
  binding.bindInput('w.int8_scales', hostTensor('float32', [out], Float32Array.from(scales)));
  for (const [name, tensor] of Object.entries(outputs)) binding.bindOutput(name, tensor);
  binding.runSync();
  return { y: outputs[y]!.data, dx: outputs[dx]!.data };
}

/** The Euclidean distance of two tensors, as a share of the second one's norm. */
function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
}

function randomMatrix(rows: number, cols: number, random: () => number): number[][] {
  const value = () => Math.fround(random());
  return Array.from({ length: rows }, () => Array.from({ length: cols }, value));
}

const sizes = fc.record({
  tokens: fc.integer({ min: 1, max: 9 }),
  width: fc.integer({ min: 1, max: 70 }),
  out: fc.integer({ min: 1, max: 40 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
  zeroRow: fc.boolean(),
});

test('a product in the row form and its gradient are those of plain code', async () => {
  await fc.assert(
    fc.asyncProperty(sizes, async ({ tokens, width, out, seed, zeroRow }) => {
      const random = seededRandom(seed);
      const linear = {
        x: randomMatrix(tokens, width, random),
        w: randomMatrix(out, width, random),
        dy: randomMatrix(tokens, out, random),
      };
      if (zeroRow) {
        linear.x[0]!.fill(0);
        linear.dy[0]!.fill(0);
      }
      const got = await graphLinear(linear);
      const want = plainLinear(linear);
      // A value between two levels may fall on either side: one of 255 levels, in one of `width` values.
      assert.ok(relativeError(got.y, want.y.flat()) < 2e-3);
      assert.ok(relativeError(got.dx, want.dx.flat()) < 2e-3);
      if (zeroRow) assert.ok(got.y.subarray(0, out).every((value) => value === 0));
    }),
    { numRuns: 40 },
  );
});

test('products of the largest values are exact on this CPU', async () => {
  const [tokens, width, out] = [4, 64, 32];
  const largest = (rows: number, cols: number) =>
    Array.from({ length: rows }, () => new Array<number>(cols).fill(127));
  const { y, dx } = await graphLinear({
    x: largest(tokens, width),
    w: largest(out, width),
    dy: largest(tokens, out),
  });
  assert.ok(y.every((value) => value === width * 127 * 127));
  assert.ok(dx.every((value) => value === out * 127 * 127));
});

test('the gradient is that of float32, within 2 %', async () => {
  const random = seededRandom(4);
  const linear = {
    x: randomMatrix(32, 192, random),
    w: randomMatrix(96, 192, random),
    dy: randomMatrix(32, 96, random),
  };
  const { y, dx } = await graphLinear(linear);
  assert.ok(relativeError(y, product(linear.x, transposed(linear.w)).flat()) < 0.02);
  assert.ok(relativeError(dx, product(linear.dy, linear.w).flat()) < 0.02);
});

for (const model_type of ['llama', 'qwen2', 'qwen3']) {
  test(`${model_type}: a model's loss and gradients in int8 are those of float32, within 3 and 10 %`, async (t) => {
    const tie_word_embeddings = model_type !== 'qwen2';
    const tiny = tinyModel({ model_type, num_hidden_layers: 3, tie_word_embeddings });
    const adapter = lora(tiny.config, (layer) =>
      layer === 1 ? ['q_proj', 'down_proj'] : ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'up_proj'],
    );
    const batches = [batchOf(tiny.config, [9, 12]), batchOf(tiny.config, [4, 5, 6], 2)];
    const exact = await gradientsOf(trainModel(t, tiny, { adapter }), batches);
    const int8 = { adapter, compute: 'int8' } as const;
    const got = await gradientsOf(trainModel(t, tiny, int8), batches);
    assert.ok(Math.abs(got.sums.loss / exact.sums.loss - 1) < 0.03);
    const all = (gradients: ReadonlyMap<string, Float32Array>) =>
      [...gradients.values()].flatMap((values) => [...values]);
    assert.ok(relativeError(all(got.gradients), all(exact.gradients)) < 0.1);

    const kept = await gradientsOf(trainModel(t, tiny, { ...int8, recompute: false }), batches);
    assert.deepEqual(kept, got, 'kept activations give the same bits as recomputed ones');
  });
}
