// Memory of a step by name: allocated at first use, grown where a larger batch comes, used again by all others.

import { elementCount } from '../../src/common/tensor.ts';
import { hostTensor, type OrtTensor, type OrtType } from '../../src/ort/tensor.ts';

interface Place {
  readonly memory: OrtTensor;
  /** The view that was asked for last: batches of one shape follow each other. */
  view: OrtTensor;
}

export class Workspace {
  readonly #places = new Map<string, Place>();

  /** The tensor of this name in this shape. What it holds is undefined where the shape has changed. */
  tensor<T extends OrtType>(name: string, type: T, shape: readonly number[]): OrtTensor<T> {
    let place = this.#places.get(name);
    if (!place || elementCount(place.memory.shape) < elementCount(shape)) {
      this.#release(place);
      const memory = hostTensor(type, shape);
      place = { memory, view: memory };
      this.#places.set(name, place);
    }
    if (place.view.shape.join() !== shape.join()) {
      if (place.view !== place.memory) place.view.release();
      place.view = place.memory.view(shape);
    }
    return place.view as OrtTensor<T>;
  }

  release(): void {
    for (const place of this.#places.values()) this.#release(place);
    this.#places.clear();
  }

  #release(place: Place | undefined): void {
    place?.view.release();
    place?.memory.release();
  }
}
