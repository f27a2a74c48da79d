// Gathers the classes of a request's inputs into one JSON answer, as vLLM writes it.
import type { ClassificationList } from '../../contracts/openai.ts';
import type { AnswerHead, DocumentWriter, TokenCounts } from './answer-plan.ts';
import type { GenerationEvent } from './generation.ts';

/** Collects events until all inputs have their scores; `end` then writes the document. */
export class ClassificationDocument implements DocumentWriter {
  readonly #head: AnswerHead;
  readonly #isActivated: boolean;
  readonly #data: ClassificationList['data'] = [];

  /** `isActivated`: whether scores become probabilities. */
  constructor(head: AnswerHead, isActivated: boolean) {
    this.#head = head;
    this.#isActivated = isActivated;
  }

  /** Adds the scores of an input. */
  write(event: GenerationEvent): void {
    if (event.type !== 'scores') return;
    const { index, scores, labels } = event;
    const probs = [...(this.#isActivated ? toProbabilities(scores) : scores)];
    const label = labels[scores.indexOf(Math.max(...scores))] ?? null;
    this.#data[index] = { index, label, probs, num_classes: labels.length };
  }

  /** Returns the whole answer. */
  end({ promptTokens }: TokenCounts): object {
    const { id, created, model } = this.#head;
    const usage = {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens,
      completion_tokens: 0,
      prompt_tokens_details: null,
    };
    return { id, object: 'list', created, model, data: this.#data, usage };
  }
}

/** The softmax of several scores, or the sigmoid of a single one. */
function toProbabilities(scores: Float32Array): Float32Array {
  if (scores.length === 1) return scores.map((score) => 1 / (1 + Math.exp(-score)));
  const max = Math.max(...scores);
  const exps = Float32Array.from(scores, (score) => Math.exp(score - max));
  const sum = exps.reduce((total, value) => total + value, 0);
  return exps.map((value) => value / sum);
}
