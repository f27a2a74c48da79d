// Reproducible dropout masks. Each micro-batch draws one pool of random values, and each module reads the pool from a different
// offset. Recomputation therefore reads the same masks.
import type { OrtTensor } from '../../src/ort/tensor.ts';
import { seededRandom, streamSeed } from '../random.ts';
import type { Workspace } from './workspace.ts';

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
