// Narrows logits in a graph: rows [L, V] → what the sampler needs to see of each.
import { NARROW, NARROW_WIDTH, narrowGraph } from '../model/narrow-graph.ts';
import type { Binding } from '../ort/binding.ts';
import { createSession } from '../ort/session.ts';
import { hostTensor, type OrtTensor } from '../ort/tensor.ts';
import type { RuntimeOptions } from './graph-sessions.ts';
import type { LogitsRow } from './logits.ts';

export class LogitsNarrower {
  readonly #vocabSize: number;
  readonly #width: number;
  readonly #binding: Binding;

  static async create(vocabSize: number, runtime: RuntimeOptions): Promise<LogitsNarrower> {
    const session = await createSession(narrowGraph(vocabSize), runtime);
    return new LogitsNarrower(vocabSize, session.createBinding());
  }

  private constructor(vocabSize: number, binding: Binding) {
    this.#vocabSize = vocabSize;
    this.#width = Math.min(NARROW_WIDTH, vocabSize);
    this.#binding = binding;
  }

  /** One entry per row; views of `logits` and of fresh small arrays. */
  async narrow(logits: OrtTensor<'float32'>): Promise<LogitsRow[]> {
    const rows = logits.shape[0]!;
    const values = hostTensor('float32', [rows, this.#width]);
    const ids = hostTensor('int64', [rows, this.#width]);
    const logSumExp = hostTensor('float32', [rows]);
    this.#binding.bindInput(NARROW.logits, logits);
    this.#binding.bindOutput(NARROW.values, values);
    this.#binding.bindOutput(NARROW.ids, ids);
    this.#binding.bindOutput(NARROW.logSumExp, logSumExp);
    await this.#binding.run();
    const { data } = logits;
    return Array.from({ length: rows }, (_, row) => ({
      logits: data.subarray(row * this.#vocabSize, (row + 1) * this.#vocabSize),
      top: {
        values: values.data.subarray(row * this.#width, (row + 1) * this.#width),
        ids: ids.data.subarray(row * this.#width, (row + 1) * this.#width),
        logSumExp: logSumExp.data[row]!,
      },
    }));
  }
}
