// A step's tensors, by name. Memory is allocated on first use, grows for larger batches, and is reused by all others.
import { elementCount } from '../../src/common/tensor.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../../src/ort/tensor.ts';

interface Allocation {
  readonly memory: OrtTensor;
  /** The last requested view. Consecutive batches often have the same shape. */
  view: OrtTensor;
}

/** Reusable tensors of a step. */
export class Workspace {
  readonly #places = new Map<string, Allocation>();

  /** Returns the tensor with this name and shape. Its contents are undefined if the shape has changed. */
  tensor<T extends OrtType>(name: string, type: T, shape: readonly number[]): OrtTensor<T> {
    let allocation = this.#places.get(name);
    if (!allocation || elementCount(allocation.memory.shape) < elementCount(shape)) {
      this.#release(allocation);
      const memory = hostTensor(type, shape);
      allocation = { memory, view: memory };
      this.#places.set(name, allocation);
    }
    if (allocation.view.shape.join() !== shape.join()) {
      if (allocation.view !== allocation.memory) allocation.view.release();
      allocation.view = allocation.memory.view(shape);
    }
    return allocation.view as OrtTensor<T>;
  }

  release(): void {
    for (const allocation of this.#places.values()) this.#release(allocation);
    this.#places.clear();
  }

  #release(allocation: Allocation | undefined): void {
    allocation?.view.release();
    allocation?.memory.release();
  }
}
