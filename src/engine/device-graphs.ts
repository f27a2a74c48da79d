// The graphs that copy on a device, as sessions made when first asked for, and memory there. Everything happens on the
// caller's thread (src/ort/binding.ts). Knows no graph itself.
import type { Binding } from '../ort/binding.ts';
import { deviceTensor } from '../ort/device-tensor.ts';
import { createSessionSync, type Session } from '../ort/session.ts';
import type { OrtTensor, OrtType } from '../ort/tensor.ts';
import type { FloatType, Provider } from '../settings/provider.ts';
import { placeGraph } from './slot-graphs.ts';

export interface DeviceGraph {
  readonly session: Session;
  /** For one use at a time; whoever binds large tensors clears it. */
  readonly binding: Binding;
}

export class DeviceGraphs {
  readonly provider: Provider;
  readonly float: FloatType;
  readonly #made = new Map<string, DeviceGraph>();

  constructor(provider: Provider, float: FloatType) {
    this.provider = provider;
    this.float = float;
  }

  /** The graph of a name, built where it is not there yet. */
  get(name: string, build: () => Uint8Array): DeviceGraph {
    let graph = this.#made.get(name);
    if (!graph) {
      const session = createSessionSync(build(), { provider: this.provider });
      graph = { session, binding: session.createBinding() };
      this.#made.set(name, graph);
    }
    return graph;
  }

  /** Copies what is bound to it, flat, to the device. */
  place(type: OrtType): DeviceGraph {
    return this.get(`place ${type}`, () => placeGraph(type, this.float));
  }

  /** Content is undefined. */
  allocate(type: OrtType, shape: readonly number[]): OrtTensor {
    return deviceTensor(this.place('uint8').session, type, shape); // any session has the allocator
  }
}
