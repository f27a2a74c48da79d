// How fast this machine multiplies matrices, by trying: what time estimates are made from.
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';

/** Rows, inputs and outputs of the trial: a batch's tokens through a linear. */
const [M, K, N] = [512, 1024, 1024];
const TRIALS = 8;

/** Multiply-adds per second, each counted as two; the best of a few runs. */
export async function measureFlops(threads: number | undefined): Promise<number> {
  const g = new GraphBuilder();
  const a = g.input('a', 'float32', [M, K]);
  const b = g.input('b', 'float32', [K, N]);
  const c = g.node('MatMul', [a, b]);
  g.output(c, 'float32', [M, N]);
  const settings = threads === undefined ? {} : { intraOpThreads: threads };
  using session = await createSession(g.toBytes(), { ...settings, allowSpinning: false });
  using binding = session.createBinding();
  using left = hostTensor('float32', [M, K]);
  using right = hostTensor('float32', [K, N]);
  using out = hostTensor('float32', [M, N]);
  binding.bindInput('a', left);
  binding.bindInput('b', right);
  binding.bindOutput(c, out);
  let bestMs = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial < TRIALS; trial++) {
    const startMs = performance.now();
    await binding.run();
    bestMs = Math.min(bestMs, performance.now() - startMs);
  }
  return (2 * M * K * N) / (bestMs / 1000);
}
