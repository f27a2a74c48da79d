// Measures how fast this machine multiplies matrices, for time estimates.
import { GraphBuilder } from '../../src/onnx/graph-builder.ts';
import { createSession } from '../../src/ort/session.ts';
import { hostTensor } from '../../src/ort/tensor.ts';

/** Tokens, inputs and outputs of the measured linear. */
const [M, K, N] = [512, 1024, 1024];
/**
 * The minimum number and duration of trials. A shorter measurement may catch a moment of turbo or of another process's load.
 */
const TRIALS = 8;
const TRIAL_MS = 300;
/** A slower median only shows that the machine is busy right now, which says little about the hours of a run. */
const MAX_SLOWDOWN = 2;

/** Operations per second; a multiply-add counts as two. */
export interface Speed {
  readonly best: number;
  /** The trials' median, but at least half of the best trial. */
  readonly typical: number;
}

/** Measures this machine's speed. */
export async function measureFlops(threads: number | undefined): Promise<Speed> {
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
  // Memory that was never written is one page of zeros at many addresses, which AMD's caches read at half the speed.
  for (const tensor of [left, right]) tensor.data.fill(1);
  binding.bindInput('a', left);
  binding.bindInput('b', right);
  binding.bindOutput(c, out);
  const times: number[] = [];
  const endMs = performance.now() + TRIAL_MS;
  while (times.length < TRIALS || performance.now() < endMs) {
    const startMs = performance.now();
    await binding.run();
    times.push(performance.now() - startMs);
  }
  times.sort((x, y) => x - y);
  const perSecond = (ms: number) => (2 * M * K * N) / (ms / 1000);
  const best = perSecond(times[0]!);
  const median = perSecond(times[Math.floor(times.length / 2)]!);
  return { best, typical: Math.max(median, best / MAX_SLOWDOWN) };
}
