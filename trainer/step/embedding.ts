// The embedding of a model in training: looks up the rows of a micro-batch's tokens, and collects the gradients of its trained
// parts. V = vocabulary, D = hidden size.
import { EMBEDDING, tensorName } from '../../adapters/peft/tensor-names.ts';
import type { DecoderConfig } from '../../src/model/config.ts';
import { embeddingName } from '../../src/model/names.ts';
import type { LoraSettings } from '../types.ts';
import type { BaseWeights } from './base-weights.ts';
import type { TrainedTensor, TrainedTensors } from './parameters.ts';

/** The parts of the model that make up the embedding. */
interface EmbeddingOptions {
  readonly config: DecoderConfig;
  readonly base: BaseWeights;
  readonly trained: TrainedTensors;
  readonly adapter: Pick<LoraSettings, 'modules'> | undefined;
}

/** A trained update of the table: its transpose is scaling * B A. */
interface Update {
  readonly rank: number;
  readonly scaling: number;
  /** [rank, V] */
  readonly a: TrainedTensor;
  /** [D, rank] */
  readonly b: TrainedTensor;
}

/** The table [V, D], and its update. */
export class Embedding {
  /** Whether any part of it is trained. */
  readonly isTrained: boolean;
  readonly #scale: number;
  readonly #width: number;
  readonly #vocabulary: number;
  readonly #base: BaseWeights;
  /** The table, if it is trained. */
  readonly #table: Float32Array | undefined;
  readonly #tableGradient: Float32Array | undefined;
  readonly #update: Update | undefined;

  constructor({ config, base, trained, adapter }: EmbeddingOptions) {
    this.#scale = config.embeddingScale;
    this.#width = config.hiddenSize;
    this.#vocabulary = config.vocabSize;
    const table = trained.get(embeddingName);
    this.#base = base;
    this.#table = table?.value.data;
    this.#tableGradient = table?.grad.data;
    const update = adapter?.modules.get(EMBEDDING);
    this.#update = update && {
      ...update,
      a: trained.get(tensorName(EMBEDDING, 'embeddingA'))!,
      b: trained.get(tensorName(EMBEDDING, 'embeddingB'))!,
    };
    this.isTrained = table !== undefined || update !== undefined;
  }

  /** Writes the tokens' scaled rows to `hidden` [tokens, D]. */
  lookUp(ids: Int32Array, hidden: Float32Array): void {
    const width = this.#width;
    for (const [token, id] of ids.entries()) {
      const row = hidden.subarray(token * width, (token + 1) * width);
      if (this.#table) row.set(this.#table.subarray(id * width, (id + 1) * width));
      else this.#base.embed(id, row);
      if (this.#update) this.#addUpdate(this.#update, id, row);
    }
    if (this.#scale === 1) return;
    const scale = Math.fround(this.#scale);
    for (let i = 0; i < hidden.length; i++) hidden[i] = hidden[i]! * scale;
  }

  #addUpdate({ rank, scaling, a, b }: Update, id: number, row: Float32Array): void {
    const [down, up] = [a.value.data, b.value.data];
    for (let r = 0; r < rank; r++) {
      const factor = scaling * down[r * this.#vocabulary + id]!;
      if (factor === 0) continue;
      for (let i = 0; i < row.length; i++) row[i] = row[i]! + factor * up[i * rank + r]!;
    }
  }

  /** Adds the gradients of the rows [tokens, D] to the gradients of the trained parts. */
  accumulate(ids: Int32Array, gradient: Float32Array): void {
    if (!this.isTrained) return;
    const width = this.#width;
    for (const [token, id] of ids.entries()) {
      const row = gradient.subarray(token * width, (token + 1) * width);
      const table = this.#tableGradient?.subarray(id * width, (id + 1) * width);
      if (table) for (let i = 0; i < width; i++) table[i] = table[i]! + this.#scale * row[i]!;
      if (this.#update) this.#addUpdateGradient(this.#update, id, row);
    }
  }

  #addUpdateGradient({ rank, scaling, a, b }: Update, id: number, row: Float32Array): void {
    const factor = scaling * this.#scale;
    for (let r = 0; r < rank; r++) {
      const at = r * this.#vocabulary + id;
      const down = factor * a.value.data[at]!;
      let sum = 0;
      for (let i = 0, k = r; i < row.length; i++, k += rank) {
        sum += row[i]! * b.value.data[k]!;
        b.grad.data[k] = b.grad.data[k]! + down * row[i]!;
      }
      a.grad.data[at] = a.grad.data[at]! + factor * sum;
    }
  }
}
