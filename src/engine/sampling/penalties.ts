// The parameters that change single logits: repetition, frequency and presence penalties, and the bias.
// Owns one sequence's counts. Knows nothing of temperature, filters or drawing.
import type { SamplingParams } from '../../generation.ts';

export class Penalties {
  readonly #params: SamplingParams;
  /** Token id → times generated (0: it stands in the prompt or has a bias only). */
  readonly #generated = new Map<number, number>();
  /** Ids in the prompt or generated; filled only where the repetition penalty needs it. */
  readonly #seen = new Set<number>();
  readonly #counts: boolean;
  readonly #repeats: boolean;

  constructor(params: SamplingParams, promptIds: readonly number[]) {
    this.#params = params;
    this.#counts = params.presencePenalty !== 0 || params.frequencyPenalty !== 0;
    this.#repeats = params.repetitionPenalty !== 1;
    for (const [id, bias] of params.logitBias) if (bias !== 0) this.#generated.set(id, 0);
    if (!this.#repeats) return;
    for (const id of promptIds) {
      this.#seen.add(id);
      this.#generated.set(id, 0);
    }
  }

  /** The ids whose logit may change. */
  get ids(): IterableIterator<number> {
    return this.#generated.keys();
  }

  get size(): number {
    return this.#generated.size;
  }

  has(id: number): boolean {
    return this.#generated.has(id);
  }

  /** Counts a generated token. */
  record(id: number): void {
    if (this.#repeats) this.#seen.add(id);
    if (this.#repeats || this.#counts) {
      this.#generated.set(id, (this.#generated.get(id) ?? 0) + 1);
    }
  }

  /** The logit after repetition penalty, then frequency and presence, then bias. */
  apply(id: number, logit: number): number {
    const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = this.#params;
    const count = this.#generated.get(id) ?? 0;
    let out = logit;
    if (this.#seen.has(id)) out = out > 0 ? out / repetitionPenalty : out * repetitionPenalty;
    if (count > 0) out -= frequencyPenalty * count + presencePenalty;
    return out + (logitBias.get(id) ?? 0);
  }
}
