// A step's tensors, by name. Memory is allocated on first use, grows for larger batches, and is reused by all others.
import { elementCount } from '../../src/common/tensor.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../../src/ort/tensor.ts';
import { seededRandom, streamSeed } from '../random.ts';

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

// Reproducible dropout masks. Each micro-batch draws one pool of random values, and each module reads the pool from a different
// offset. Recomputation therefore reads the same masks.

/** The dropout masks of a micro-batch. */
export class DropoutMasks {
  readonly #rate: number;
  readonly #seed: number;
  readonly #workspace: Workspace;
  readonly #views: OrtTensor[] = [];
  #pool: OrtTensor<'float32'> | undefined;

  constructor(options: { rate: number; seed: number }, workspace: Workspace) {
    this.#rate = options.rate;
    this.#seed = options.seed;
    this.#workspace = workspace;
  }

  /** Draws the masks of a micro-batch for modules with at most `elements` = tokens * inputs. */
  draw(step: number, microBatch: number, elements: number): void {
    const pool = this.#workspace.tensor('dropout_pool', 'float32', [2 * elements]);
    const random = seededRandom(streamSeed(this.#seed, `dropout ${step} ${microBatch}`));
    const keep = 1 / (1 - this.#rate);
    const { data } = pool;
    for (let i = 0; i < data.length; i++) data[i] = random() < this.#rate ? 0 : keep;
    this.#pool = pool;
    for (const view of this.#views.splice(0)) view.release();
  }

  /** Returns a module's mask [tokens, inputs], which stays the same until the next draw. */
  mask(name: string, shape: readonly number[]): OrtTensor {
    const elements = this.#pool!.shape[0]! / 2;
    const view = this.#pool!.view(shape, streamSeed(this.#seed, name) % (elements + 1));
    this.#views.push(view);
    return view;
  }
}
