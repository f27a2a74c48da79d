// A device's memory for a model: weights, cache and adapter slots stay there, host values go there by small graphs.
// Knows no model.
import { ConfigError } from '../common/errors.ts';
import { elementCount } from '../common/tensor.ts';
import { GraphBuilder } from '../onnx/graph-builder.ts';
import { OrtError } from '../ort/runtime.ts';
import { createSessionSync } from '../ort/session.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import { type FloatType, PROVIDERS, type Provider } from '../settings/provider.ts';
import { longestRun } from './attention-check.ts';
import { DeviceGraphs } from './device-graphs.ts';
import { DeviceSlots } from './device-slots.ts';
import type { ModelMemory } from './model-memory.ts';
import { CAST_TO, SLOT_GRAPH } from './slot-graphs.ts';

/**
 * Chooses the first float type of the provider's that the device computes with.
 * @throws ConfigError where the provider cannot be had on this machine, with the runtime's reason
 */
export function openDeviceMemory(provider: Provider): ModelMemory {
  const { floats, advice } = PROVIDERS[provider];
  let fault: unknown;
  for (const float of floats) {
    try {
      probe(provider, float);
      return deviceMemory(new DeviceGraphs(provider, float), longestRun(provider, float));
    } catch (error) {
      if (!(error instanceof OrtError)) throw error;
      fault = error;
    }
  }
  // What precedes is the place in the runtime's sources.
  const reason = (fault as OrtError).message.trim().replace(/^.* was false\. /s, '');
  throw new ConfigError([`--provider: ${provider} cannot be had here: ${advice} (${reason})`]);
}

function deviceMemory(graphs: DeviceGraphs, tokens: number): ModelMemory {
  return {
    float: graphs.float,
    weightsAs: 'inputs',
    rangesBegin: 'at zero',
    longestRun: tokens,
    place: (tensor) => place(graphs, tensor),
    createSlots: (slotCount) => new DeviceSlots(graphs, slotCount),
  };
}

function place(graphs: DeviceGraphs, tensor: OrtTensor): OrtTensor {
  const { type, shape } = tensor;
  const placed = graphs.allocate(type === 'float32' ? graphs.float : type, shape);
  const flat = [elementCount(shape)];
  const { binding } = graphs.place(type);
  binding.bindInput(SLOT_GRAPH.slot(0), tensor.view(flat));
  binding.bindOutput(SLOT_GRAPH.written(0), placed.view(flat));
  binding.runSync();
  binding.clear();
  return placed;
}

/** Throws `OrtError` where the provider or the type is not there. */
function probe(provider: Provider, float: FloatType): void {
  using session = createSessionSync(probeGraph(float), { provider, isQuiet: true });
  using binding = session.createBinding();
  binding.bindInput('x', hostTensor('float32', [1]));
  binding.bindOutput('y', hostTensor('float32', [1]));
  binding.runSync();
}

/** y = x + x in the type. */
function probeGraph(float: FloatType): Uint8Array {
  const g = new GraphBuilder();
  const x = g.node('Cast', [g.input('x', 'float32', [1])], { to: CAST_TO[float] });
  const sum = g.node('Add', [x, x]);
  const [y] = g.nodeWithOutputs('Cast', [sum], { to: CAST_TO.float32 }, { outputs: ['y'] });
  g.output(y!, 'float32', [1]);
  return g.toBytes();
}
