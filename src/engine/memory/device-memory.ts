// The memory of a device for a model. Weights, cache and adapter slots stay there; small graphs copy values of the host
// to it. Knows no model.
import { assert } from '../../common/assert.ts';
import { ConfigError } from '../../common/errors.ts';
import { elementCount } from '../../common/tensor.ts';
import { GraphBuilder } from '../../onnx/graph-builder.ts';
import { OrtError } from '../../ort/runtime.ts';
import { createSessionSync } from '../../ort/session.ts';
import { hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import { type FloatType, PROVIDERS, type Provider } from '../../settings/provider.ts';
import { maxTokensPerRun } from './attention-check.ts';
import { COPY_GRAPH, CopyGraphs } from './copy-graphs.ts';
import { DeviceSlots } from './device-slots.ts';
import type { ModelMemory } from './model-memory.ts';

/**
 * Opens a provider's memory with the first of its float types that the device can compute with. Throws `ConfigError`
 * with the runtime's reason if the provider is not available on this machine.
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
  // The message starts with a position in the runtime's source code.
  const reason = (fault as OrtError).message.trim().replace(/^.* was false\. /s, '');
  throw new ConfigError([
    `--provider: ${provider} is not available on this machine (${reason}). ${advice}`,
  ]);
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
