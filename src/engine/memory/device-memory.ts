// A device's memory for a model. Weights, cache and adapter slots stay there; small graphs copy values from the host to it.
// Works on tensors alone.
import { assert } from '../../common/assert.ts';
import { ConfigError } from '../../common/errors.ts';
import { elementCount } from '../../common/tensor.ts';
import { GraphBuilder, MICROSOFT } from '../../onnx/graph-builder.ts';
import { OrtError } from '../../ort/runtime.ts';
import { createSessionSync, type Session } from '../../ort/session.ts';
import { hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import { type FloatType, PROVIDERS, type Provider } from '../../settings/provider.ts';
import { COPY_GRAPH, CopyGraphs } from './copy-graphs.ts';
import { DeviceSlots } from './device-slots.ts';
import type { ModelMemory } from './model-memory.ts';

/**
 * Opens a provider's memory with the first of its float types that the device can compute with. If the provider is not
 * available on this machine, throws `ConfigError` with the runtime's reason.
 */
export function openDeviceMemory(provider: Provider): ModelMemory {
  const { floats, advice } = PROVIDERS[provider];
  let fault: unknown;
  for (const float of floats) {
    try {
      probe(provider, float);
      return deviceMemory(new CopyGraphs(provider, float), maxTokensPerRun(provider, float));
    } catch (error) {
      if (!(error instanceof OrtError)) throw error;
      fault = error;
    }
  }
  // The message starts with a location in the runtime's source code.
  const reason = (fault as OrtError).message.trim().replace(/^.* was false\. /s, '');
  throw new ConfigError(
    `--provider: ${provider} is not available on this machine (${reason}). ${advice}`,
  );
}

function deviceMemory(graphs: CopyGraphs, tokens: number): ModelMemory {
  return {
    float: graphs.float,
    weightsAs: 'inputs',
    rangesStartAt: 'slot 0',
    maxTokensPerRun: tokens,
    upload: (tensor) => upload(graphs, tensor),
    createSlots: (slotCount, type) => {
      assert(!type, 'slots on a device hold floats');
      return new DeviceSlots(graphs, slotCount);
    },
  };
}

function upload(graphs: CopyGraphs, tensor: OrtTensor): OrtTensor {
  const { type, shape } = tensor;
  const uploaded = graphs.allocate(type === 'float32' ? graphs.float : type, shape);
  const flat = [elementCount(shape)];
  const { binding } = graphs.upload(type);
  binding.bindInput(COPY_GRAPH.slot(0), tensor.view(flat));
  binding.bindOutput(COPY_GRAPH.written(0), uploaded.view(flat));
  binding.runSync();
  binding.clear();
  return uploaded;
}

/** Runs a tiny graph. Throws `OrtError` if the provider or the float type is missing. */
function probe(provider: Provider, float: FloatType): void {
  using session = createSessionSync(probeGraph(float), { provider, isQuiet: true });
  using binding = session.createBinding();
  binding.bindInput('x', hostTensor('float32', [1]));
  binding.bindOutput('y', hostTensor('float32', [1]));
  binding.runSync();
}

/** y = x + x, computed in the float type. */
function probeGraph(float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const x = g.cast(g.input('x', 'float32', [1]), float);
  g.output(g.cast(g.node('Add', [x, x]), 'float32', 'y'), 'float32', [1]);
  return g.toBytes();
}

// Checks that a device's attention computes the same for a prompt in one run as in several. WebGPU uses a different kernel for
// 32 or more tokens of a sequence, and with SwiftShader (subgroups of 4) that kernel is wrong from the fifth token on.

/** The most tokens that use the kernel for short prompts. */
const SHORT_RUN_TOKENS = 31;
const TOKENS = 2 * SHORT_RUN_TOKENS;
const [HEADS, KV_HEADS, HEAD_DIM] = [2, 1, 32];
const WIDTH = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
/** Outputs are averages of values in [-1, 1]. This is far above float16's rounding and far below a wrong sum. */
const TOLERANCE = 0.02;

/** Returns how many tokens of one sequence a run may have: 31, or any number. Throws `OrtError`. */
export function maxTokensPerRun(provider: Provider, float: FloatType): number {
  using session = createSessionSync(attentionGraph(float), { provider });
  const cacheSize = KV_HEADS * TOKENS * HEAD_DIM;
  const caches = [new Float32Array(cacheSize), new Float32Array(cacheSize)];
  const inOneRun = attend(session, [0, TOKENS], caches);
  const inTwoRuns = [
    ...attend(session, [0, SHORT_RUN_TOKENS], caches),
    ...attend(session, [SHORT_RUN_TOKENS, TOKENS], caches),
  ];
  const isSame = inTwoRuns.every((value, i) => Math.abs(value - inOneRun[i]!) < TOLERANCE);
  return isSame ? Number.POSITIVE_INFINITY : SHORT_RUN_TOKENS;
}

/** Returns the output [to - from, HEADS * HEAD_DIM] and appends to the caches [KV_HEADS, TOKENS, HEAD_DIM]. */
function attend(session: Session, [from, to]: [number, number], caches: Float32Array[]): number[] {
  using binding = session.createBinding();
  const count = to - from;
  // Values in [-1, 1] that differ from token to token and from element to element.
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
  const cacheDims = [1, KV_HEADS, TOKENS, HEAD_DIM];
  const qkv = g.cast(g.input('qkv', 'float32', [1, 'tokens', WIDTH]), float);
  const past = [0, 1].map((i) => g.cast(g.input(`past.${i}`, 'float32', cacheDims), float));
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
    g.output(g.cast(result, 'float32', names[i]!), 'float32', dims[i]!);
  });
  return g.toBytes();
}
