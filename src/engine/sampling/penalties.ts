// Changes single logits: repetition, frequency and presence penalties, bias, and forbidden tokens. Owns the token counts of one
// sequence. Temperature, filters and draws come later.
import type { SamplingParams } from '../../contracts/generation.ts';

const NONE: ReadonlySet<number> = new Set();

/** The penalties of one sequence. */
export class Penalties {
  readonly #params: SamplingParams;
  /** Token id → how often it was generated. 0: it occurs only in the prompt, or only has a bias. */
  readonly #generated = new Map<number, number>();
  /** Ids in the prompt or generated. Filled only if there is a repetition penalty. */
  readonly #seen = new Set<number>();
  /** Ids that the next draw must not choose. */
  #forbidden: ReadonlySet<number> = NONE;
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

  /** Forbids tokens until the next call. */
  forbid(ids: ReadonlySet<number>): void {
    this.#forbidden = ids;
  }

  /** The ids whose logit may change, each once. */
  *ids(): Generator<number> {
    yield* this.#generated.keys();
    for (const id of this.#forbidden) if (!this.#generated.has(id)) yield id;
  }

  /** Whether no logit changes. */
  get isEmpty(): boolean {
    return this.#generated.size === 0 && this.#forbidden.size === 0;
  }

  has(id: number): boolean {
    return this.#generated.has(id) || this.#forbidden.has(id);
  }

  /** Counts a generated token. */
  record(id: number): void {
    if (this.#repeats) this.#seen.add(id);
    if (this.#repeats || this.#counts) {
      this.#generated.set(id, (this.#generated.get(id) ?? 0) + 1);
    }
  }

  /**
   * Returns the logit after repetition penalty, then frequency and presence penalty, then bias. -Infinity if it is forbidden.
   */
  apply(id: number, logit: number): number {
    if (this.#forbidden.has(id)) return Number.NEGATIVE_INFINITY;
    const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = this.#params;
    const count = this.#generated.get(id) ?? 0;
    let out = logit;
    if (this.#seen.has(id)) out = out > 0 ? out / repetitionPenalty : out * repetitionPenalty;
    if (count > 0) out -= frequencyPenalty * count + presencePenalty;
    return out + (logitBias.get(id) ?? 0);
  }
}
