// Whether a device's attention gives a prompt in one run what it gives in several. WebGPU's kernel for 32 tokens and
// more of a sequence is another one than for fewer; with SwiftShader (subgroups of 4) it is wrong from the fifth on.
import { GraphBuilder, MICROSOFT } from '../onnx/graph-builder.ts';
import { createSessionSync, type Session } from '../ort/session.ts';
import { hostTensor } from '../ort/tensor.ts';
import type { FloatType, Provider } from '../settings/provider.ts';
import { CAST_TO } from './slot-graphs.ts';

/** The most tokens that go to the other kernel. */
const LONGEST_SHORT_RUN = 31;
const TOKENS = 2 * LONGEST_SHORT_RUN;
/** Query heads, key heads, their size. */
const [HEADS, KV_HEADS, HEAD_DIM] = [2, 1, 32];
const WIDTH = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
/** Values are averages of numbers in [-1, 1]: well above float16's rounding, well below a wrong sum. */
const TOLERANCE = 0.02;

/** How many tokens of one sequence a run may have. Throws `OrtError`. */
export function longestRun(provider: Provider, float: FloatType): number {
  using session = createSessionSync(attentionGraph(float), { provider });
  const cacheSize = KV_HEADS * TOKENS * HEAD_DIM;
  const caches = [new Float32Array(cacheSize), new Float32Array(cacheSize)];
  const whole = attend(session, [0, TOKENS], caches);
  const pieces = [
    ...attend(session, [0, LONGEST_SHORT_RUN], caches),
    ...attend(session, [LONGEST_SHORT_RUN, TOKENS], caches),
  ];
  const isSame = pieces.every((value, i) => Math.abs(value - whole[i]!) < TOLERANCE);
  return isSame ? Number.POSITIVE_INFINITY : LONGEST_SHORT_RUN;
}

/** The output [to - from, HEADS * HEAD_DIM]; the caches [KV_HEADS, TOKENS, HEAD_DIM] are appended to. */
function attend(session: Session, [from, to]: [number, number], caches: Float32Array[]): number[] {
  using binding = session.createBinding();
  const count = to - from;
  // Different at each token and place, in [-1, 1].
  const qkv = Float32Array.from({ length: count * WIDTH }, (_, i) =>
    Math.sin(1.7 * (from * WIDTH + i) + 0.3 * ((from * WIDTH + i) % 7)),
  );
  binding.bindInput('qkv', hostTensor('float32', [1, count, WIDTH], qkv));
  binding.bindInput('seqlens', hostTensor('int32', [1], Int32Array.of(to - 1)));
  binding.bindInput('total', hostTensor('int32', [], Int32Array.of(to)));
  const present = caches.map((cache, i) => {
    const shape = [1, KV_HEADS, TOKENS, HEAD_DIM];
    binding.bindInput(`past.${i}`, hostTensor('float32', shape, cache.slice()));
    const after = hostTensor('float32', shape);
    binding.bindOutput(`present.${i}`, after);
    return after;
  });
  const output = hostTensor('float32', [1, count, HEADS * HEAD_DIM]);
  binding.bindOutput('output', output);
  binding.runSync();
  present.forEach(({ data }, i) => {
    caches[i]!.set(data);
  });
  return [...output.data];
}

function attentionGraph(float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const narrow = { to: CAST_TO[float] };
  const cacheDims = [1, KV_HEADS, TOKENS, HEAD_DIM];
  const qkv = g.node('Cast', [g.input('qkv', 'float32', [1, 'tokens', WIDTH])], narrow);
  const past = [0, 1].map((i) =>
    g.node('Cast', [g.input(`past.${i}`, 'float32', cacheDims)], narrow),
  );
  const lengths = [g.input('seqlens', 'int32', [1]), g.input('total', 'int32', [])];
  const results = g.nodeWithOutputs(
    'GroupQueryAttention',
    [qkv, undefined, undefined, ...past, ...lengths],
    { num_heads: HEADS, kv_num_heads: KV_HEADS },
    { domain: MICROSOFT, outputs: [true, true, true] },
  );
  const names = ['output', 'present.0', 'present.1'];
  const dims = [[1, 'tokens', HEADS * HEAD_DIM], cacheDims, cacheDims];
  results.forEach((result, i) => {
    const wide = { to: CAST_TO.float32 };
    const [value] = g.nodeWithOutputs('Cast', [result], wide, { outputs: [names[i]!] });
    g.output(value!, 'float32', dims[i]!);
  });
  return g.toBytes();
}
