// Pools the hidden states of a prompt into one embedding, chunk by chunk, and classifies it.
import type { Classifier } from '../../adapters/peft/weights.ts';
import { assert } from '../common/assert.ts';
import type { Pooling } from '../contracts/generation.ts';

/** The embedding of one prompt. D = hidden size. */
export class Pooler {
  readonly #pooling: Pooling;
  /** [D]: the sum of the rows so far, or the last row. */
  #pooled: Float64Array | undefined;
  #rowCount = 0;
  #classifier: Classifier | undefined;

  constructor(pooling: Pooling) {
    this.#pooling = pooling;
  }

  /** Sets the classifier of the adapter, before the last chunk. */
  classifyBy(classifier: Classifier): void {
    this.#classifier = classifier;
  }

  /** Returns the token rows of a chunk that the pooler needs. */
  rowsOf(tokenCount: number): number[] {
    if (this.#pooling === 'last') return [tokenCount - 1];
    return Array.from({ length: tokenCount }, (_, row) => row);
  }

  /** Takes the needed rows of the next chunk, [D] each. They may be views. */
  add(rows: readonly Float32Array[]): void {
    if (this.#pooling === 'last') {
      this.#pooled = Float64Array.from(rows.at(-1)!);
      this.#rowCount = 1;
      return;
    }
    for (const row of rows) {
      this.#pooled ??= new Float64Array(row.length);
      for (let i = 0; i < row.length; i++) this.#pooled[i]! += row[i]!;
    }
    this.#rowCount += rows.length;
  }

  /** Returns the embedding [D], not normalized. The last chunk must have been added. */
  embedding(): Float32Array {
    assert(this.#pooled, 'the prompt has run');
    return Float32Array.from(this.#pooled, (sum) => sum / this.#rowCount);
  }

  /** Returns the scores of the embedding. Undefined without a classifier. */
  scores(): { scores: Float32Array; labels: readonly string[] } | undefined {
    if (!this.#classifier) return undefined;
    const { labels, weight } = this.#classifier;
    const embedding = this.embedding();
    const scores = Float32Array.from(labels, (_, label) => {
      let sum = 0;
      const row = label * embedding.length;
      for (let i = 0; i < embedding.length; i++) sum += weight[row + i]! * embedding[i]!;
      return sum;
    });
    return { scores, labels };
  }
}
