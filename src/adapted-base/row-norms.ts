// Norms of the rows of an adapted weight, W + B A, for DoRA. The runtime computes them: 135M weights with rank 16 are two billion
// multiplications.

import type { LoraPair } from '../../adapters/peft/weights.ts';
import { lazy } from '../common/lazy.ts';
import type { Matrix } from '../common/tensor.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { createSession } from '../ort/session.ts';
import { hostTensor } from '../ort/tensor.ts';

type Floats = Float32Array<ArrayBuffer>;

const normSession = lazy(() => createSession(normGraph(), { sharesThreads: true }));

/** Returns the norms [out] of the rows of W + B A, for W [out, in], B [out, rank] and A [rank, in]. */
export async function rowNorms(weight: Matrix, update: LoraPair): Promise<Float32Array> {
  const { rows, cols } = weight;
  const { rank } = update;
  const norms = hostTensor('float32', [rows]);
  using binding = (await normSession.get()).createBinding();
  binding.bindInput('w', hostTensor('float32', [rows, cols], weight.values as Floats));
  binding.bindInput('a', hostTensor('float32', [rank, cols], update.a as Floats));
  binding.bindInput('b', hostTensor('float32', [rows, rank], update.b as Floats));
  binding.bindOutput('norms', norms);
  await binding.run();
  return norms.data;
}

function normGraph(): Uint8Array {
  const g = new GraphBuilder();
  const w = g.input('w', 'float32', ['out', 'in']);
  const a = g.input('a', 'float32', ['rank', 'in']);
  const b = g.input('b', 'float32', ['out', 'rank']);
  const sum = g.node('Gemm', [b, a, w]);
  const options = { outputs: ['norms'] };
  const [norms] = g.nodeWithOutputs('ReduceL2', [sum, g.int64([1])], { keepdims: 0 }, options);
  g.output(norms!, 'float32', ['out']);
  return g.toBytes();
}
