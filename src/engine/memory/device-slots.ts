// Slots in a device's memory. A range that starts at slot 0 is a view. Any other slot is copied on the device to a staging
// slot, and back after a run that wrote to it, because a WebGPU buffer has no address to add an offset to.
import { assert } from '../../common/assert.ts';
import { elementCount } from '../../common/tensor.ts';
import type { Binding } from '../../ort/binding.ts';
import { hostTensor, type OrtTensor } from '../../ort/tensor.ts';
import { COPY_GRAPH, type CopyGraphs, readGraph, writeGraph, zerosGraph } from './copy-graphs.ts';
import type { SlotTensor, SlotTensors, SlotValues } from './model-memory.ts';

/** WebGPU counts elements in 32 bits, and a scatter's index counts slots in 32 bits. */
const MAX_ELEMENTS = 2 ** 31;

interface DeviceSlotTensor {
  /** [slots, ...shape] */
  readonly tensor: OrtTensor;
  /** The same memory as [slots, n]. */
  readonly flat: OrtTensor;
  /** The shape and the element count of one slot. */
  readonly shape: readonly number[];
  readonly size: number;
}

/** A copy of one slot of every tensor. */
interface StagingSlot {
  /** [1, ...shape] */
  readonly tensors: readonly OrtTensor[];
  /** The same memory as [1, n]. */
  readonly flats: readonly OrtTensor[];
  /** The slot whose values it holds. Undefined if they are stale. */
  slot: number | undefined;
}

/** Tensors of slots on a device. */
export class DeviceSlots implements SlotTensors {
  readonly #graphs: CopyGraphs;
  readonly #slotCount: number;
  readonly #tensors: DeviceSlotTensor[] = [];
  /** Number of slots → views of the first slots. */
  readonly #views = new Map<number, readonly OrtTensor[]>();
  #staging: StagingSlot | undefined;
  /** Copy graph → a binding of all tensors. Bindings are kept, because any decode step may need them. */
  readonly #bindings = new Map<string, Binding>();

  constructor(graphs: CopyGraphs, slotCount: number) {
    this.#graphs = graphs;
    this.#slotCount = slotCount;
  }

  add(tensors: readonly SlotTensor[]): void {
    for (const { shape } of tensors) {
      const size = elementCount(shape);
      const isInRange = this.#slotCount * size < MAX_ELEMENTS;
      assert(isInRange, 'a tensor of slots has fewer than 2^31 elements');
      const tensor = this.#graphs.allocate(this.#graphs.float, [this.#slotCount, ...shape]);
      const added = { tensor, flat: tensor.view([this.#slotCount, size]), shape, size };
      this.#tensors.push(added);
      this.#fillWithZeros(added);
    }
  }

  range(first: number, count: number): readonly OrtTensor[] {
    if (first === 0) return this.#firstSlots(count);
    assert(count === 1, 'a range of several slots starts at slot 0');
    const staging = this.#stagingSlot();
    if (staging.slot !== first) this.#read(first);
    return staging.tensors;
  }

  writeBack(first: number, count: number): void {
    if (first > 0) this.#write(first);
    else if ((this.#staging?.slot ?? count) < count) this.#staging!.slot = undefined;
  }

  write(index: number, slot: number, fill: (into: SlotValues) => void): void {
    const { flat, size } = this.#tensors[index]!;
    const values = hostTensor('float32', [1, size]);
    fill(values.data);
    const types = { given: 'float32', float: this.#graphs.float } as const;
    const { binding } = this.#graphs.get(`write ${size}`, () => writeGraph([size], types));
    binding.bindInput(COPY_GRAPH.writtenSlot, hostTensor('int32', [1, 1], Int32Array.of(slot)));
    binding.bindInput(COPY_GRAPH.slot(0), values);
    binding.bindInput(COPY_GRAPH.slots(0), flat);
    binding.bindOutput(COPY_GRAPH.written(0), flat);
    binding.runSync();
    binding.clear();
    if (this.#staging?.slot === slot) this.#staging.slot = undefined;
  }

  /** Copies the whole slot, which is faster on a device than copying part of it. */
  move(from: number, to: number): void {
    this.#read(from);
    this.#write(to);
  }

  zero(slot: number): void {
    for (const index of this.#tensors.keys()) this.write(index, slot, (into) => into.fill(0));
  }

  release(): void {
    for (const binding of this.#bindings.values()) binding.release();
    const views = [...this.#views.values(), this.#staging?.tensors ?? []].flat();
    const flats = [...this.#tensors.map(({ flat }) => flat), ...(this.#staging?.flats ?? [])];
    for (const tensor of [...flats, ...views]) tensor.releaseMemory();
    for (const { tensor } of this.#tensors) tensor.releaseMemory();
  }

  #firstSlots(count: number): readonly OrtTensor[] {
    let views = this.#views.get(count);
    if (!views) {
      views = this.#tensors.map(({ tensor, shape }) => tensor.view([count, ...shape]));
      this.#views.set(count, views);
    }
    return views;
  }

  #stagingSlot(): StagingSlot {
    if (!this.#staging) {
      const { float } = this.#graphs;
      const tensors = this.#tensors.map(({ shape }) => this.#graphs.allocate(float, [1, ...shape]));
      const flats = tensors.map((tensor, i) => tensor.view([1, this.#tensors[i]!.size]));
      this.#staging = { tensors, flats, slot: undefined };
    }
    return this.#staging;
  }

  /** Copies a slot to the staging slot. */
  #read(slot: number): void {
    const { float } = this.#graphs;
    const binding = this.#binding('read', () => readGraph(this.#tensors.length, float));
    const index = hostTensor('int64', [1], BigInt64Array.of(BigInt(slot)));
    binding.bindInput(COPY_GRAPH.readSlot, index);
    binding.runSync();
    this.#stagingSlot().slot = slot;
  }

  /** Copies the staging slot to a slot. */
  #write(slot: number): void {
    const { float } = this.#graphs;
    const sizes = this.#tensors.map(({ size }) => size);
    const binding = this.#binding('write', () => writeGraph(sizes, { given: float, float }));
    binding.bindInput(COPY_GRAPH.writtenSlot, hostTensor('int32', [1, 1], Int32Array.of(slot)));
    binding.runSync();
    this.#stagingSlot().slot = slot;
  }

  #fillWithZeros({ flat, size }: DeviceSlotTensor): void {
    const { binding } = this.#graphs.get('zeros', () => zerosGraph(this.#graphs.float));
    const shape = BigInt64Array.of(BigInt(this.#slotCount), BigInt(size));
    binding.bindInput(COPY_GRAPH.shape, hostTensor('int64', [2], shape));
    binding.bindOutput(COPY_GRAPH.written(0), flat);
    binding.runSync();
    binding.clear();
  }

  /** Returns a binding of all tensors and the staging slot. Only the slot's index is not bound. */
  #binding(name: 'read' | 'write', build: () => Uint8Array): Binding {
    const known = this.#bindings.get(name);
    if (known) return known;
    const sizes = this.#tensors.map(({ size }) => size);
    const binding = this.#graphs.get(`${name} all ${sizes}`, build).session.createBinding();
    const { flats } = this.#stagingSlot();
    this.#tensors.forEach(({ flat }, i) => {
      binding.bindInput(COPY_GRAPH.slots(i), flat);
      if (name === 'read') binding.bindOutput(COPY_GRAPH.slot(i), flats[i]!);
      else {
        binding.bindInput(COPY_GRAPH.slot(i), flats[i]!);
        binding.bindOutput(COPY_GRAPH.written(i), flat);
      }
    });
    this.#bindings.set(name, binding);
    return binding;
  }
}
