// Slots in a device's memory. A range from slot 0 on is a view; any other slot is copied, on the device, to tensors of
// one slot, and back after a run that wrote to them: WebGPU's buffers have no address that an offset could be added to.
import { assert } from '../common/assert.ts';
import { elementCount } from '../common/tensor.ts';
import type { Binding } from '../ort/binding.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import type { DeviceGraphs } from './device-graphs.ts';
import type { SlotTensors } from './model-memory.ts';
import { clearGraph, readGraph, SLOT_GRAPH, writeGraph, zerosGraph } from './slot-graphs.ts';

/** WebGPU counts elements, and a scatter's index its slots, in 32 bits. */
const MAX_ELEMENTS = 2 ** 31;

/** A tensor of slots. */
interface Held {
  readonly tensor: OrtTensor;
  /** The same as [slots, n]. */
  readonly flat: OrtTensor;
  /** Of one slot. */
  readonly shape: readonly number[];
  readonly size: number;
}

/** Tensors of one slot, [1, ...shape] and [1, n]. */
interface Single {
  readonly tensors: readonly OrtTensor[];
  readonly flats: readonly OrtTensor[];
}

export class DeviceSlots implements SlotTensors {
  readonly #graphs: DeviceGraphs;
  readonly #slotCount: number;
  readonly #held: Held[] = [];
  /** By number of slots. */
  readonly #views = new Map<number, readonly OrtTensor[]>();
  #single: Single | undefined;
  /** Which slot `#single` has the values of. */
  #singleSlot: number | undefined;
  /** Bindings of all tensors, by graph: made once, as a decode step may need them. */
  readonly #bindings = new Map<string, Binding>();

  constructor(graphs: DeviceGraphs, slotCount: number) {
    this.#graphs = graphs;
    this.#slotCount = slotCount;
  }

  add(shape: readonly number[], count = 1): void {
    const size = elementCount(shape);
    assert(this.#slotCount * size < MAX_ELEMENTS, 'a tensor of slots is counted in 32 bits');
    for (let i = 0; i < count; i++) {
      const tensor = this.#graphs.allocate(this.#graphs.float, [this.#slotCount, ...shape]);
      const held = { tensor, flat: tensor.view([this.#slotCount, size]), shape, size };
      this.#held.push(held);
      this.#fillWithZeros(held);
    }
  }

  range(first: number, count: number): readonly OrtTensor[] {
    if (first === 0) return this.#front(count);
    assert(count === 1, 'a range of several slots begins at slot 0');
    if (this.#singleSlot !== first) this.#read(first);
    return this.#oneSlot().tensors;
  }

  keep(first: number, count: number): void {
    if (first > 0) this.#write(first);
    else if ((this.#singleSlot ?? count) < count) this.#singleSlot = undefined;
  }

  write(tensor: number, slot: number, fill: (into: Float32Array) => void): void {
    const { flat, size } = this.#held[tensor]!;
    const values = hostTensor('float32', [1, size]);
    fill(values.data);
    const types = { given: 'float32', float: this.#graphs.float } as const;
    const { binding } = this.#graphs.get(`write ${size}`, () => writeGraph([size], types));
    binding.bindInput(SLOT_GRAPH.writtenSlot, hostTensor('int32', [1, 1], Int32Array.of(slot)));
    binding.bindInput(SLOT_GRAPH.slot(0), values);
    binding.bindInput(SLOT_GRAPH.slots(0), flat);
    binding.bindOutput(SLOT_GRAPH.written(0), flat);
    binding.runSync();
    binding.clear();
    if (this.#singleSlot === slot) this.#singleSlot = undefined;
  }

  /** Whole slots: the device is faster than counting. */
  move(from: number, to: number): void {
    this.#read(from);
    this.#write(to);
  }

  zero(slot: number): void {
    const { float } = this.#graphs;
    const binding = this.#binding('clear', () => clearGraph(this.#sizes, float));
    this.#runOnSlot(binding, slot);
    if (this.#singleSlot === slot) this.#singleSlot = undefined;
  }

  release(): void {
    for (const binding of this.#bindings.values()) binding.release();
    const views = [...this.#views.values(), this.#single?.tensors ?? []].flat();
    const flats = [...this.#held.map(({ flat }) => flat), ...(this.#single?.flats ?? [])];
    for (const tensor of [...flats, ...views]) tensor.releaseMemory();
    for (const { tensor } of this.#held) tensor.releaseMemory();
  }

  get #sizes(): number[] {
    return this.#held.map(({ size }) => size);
  }

  #front(count: number): readonly OrtTensor[] {
    let views = this.#views.get(count);
    if (!views) {
      views = this.#held.map(({ tensor, shape }) => tensor.view([count, ...shape]));
      this.#views.set(count, views);
    }
    return views;
  }

  #oneSlot(): Single {
    if (!this.#single) {
      const { float } = this.#graphs;
      const tensors = this.#held.map(({ shape }) => this.#graphs.allocate(float, [1, ...shape]));
      const flats = tensors.map((tensor, i) => tensor.view([1, this.#held[i]!.size]));
      this.#single = { tensors, flats };
    }
    return this.#single;
  }

  /** `#single` = the slot. */
  #read(slot: number): void {
    const { float } = this.#graphs;
    const binding = this.#binding('read', () => readGraph(this.#held.length, float));
    binding.bindInput(
      SLOT_GRAPH.readSlot,
      hostTensor('int64', [1], BigInt64Array.of(BigInt(slot))),
    );
    binding.runSync();
    this.#singleSlot = slot;
  }

  /** The slot = `#single`. */
  #write(slot: number): void {
    const { float } = this.#graphs;
    const build = () => writeGraph(this.#sizes, { given: float, float });
    this.#runOnSlot(this.#binding('write', build), slot);
    this.#singleSlot = slot;
  }

  #runOnSlot(binding: Binding, slot: number): void {
    binding.bindInput(SLOT_GRAPH.writtenSlot, hostTensor('int32', [1, 1], Int32Array.of(slot)));
    binding.runSync();
  }

  #fillWithZeros({ flat, size }: Held): void {
    const { binding } = this.#graphs.get('zeros', () => zerosGraph(this.#graphs.float));
    const shape = BigInt64Array.of(BigInt(this.#slotCount), BigInt(size));
    binding.bindInput(SLOT_GRAPH.shape, hostTensor('int64', [2], shape));
    binding.bindOutput(SLOT_GRAPH.written(0), flat);
    binding.runSync();
    binding.clear();
  }

  /** All of this object's tensors that the graph has, bound; its slot is not. */
  #binding(name: 'read' | 'write' | 'clear', build: () => Uint8Array): Binding {
    const known = this.#bindings.get(name);
    if (known) return known;
    const id = `${name} all ${this.#sizes.join()}`;
    const { session } = this.#graphs.get(id, build);
    const binding = session.createBinding();
    const inputs = new Set(session.inputs.map((input) => input.name));
    const outputs = new Set(session.outputs.map((output) => output.name));
    this.#held.forEach(({ flat }, i) => {
      if (inputs.has(SLOT_GRAPH.slots(i))) binding.bindInput(SLOT_GRAPH.slots(i), flat);
      if (outputs.has(SLOT_GRAPH.written(i))) binding.bindOutput(SLOT_GRAPH.written(i), flat);
    });
    if (name !== 'clear') {
      this.#oneSlot().flats.forEach((flat, i) => {
        if (name === 'read') binding.bindOutput(SLOT_GRAPH.slot(i), flat);
        else binding.bindInput(SLOT_GRAPH.slot(i), flat);
      });
    }
    this.#bindings.set(name, binding);
    return binding;
  }
}
