// Collects embeddings, or the classes of inputs as vLLM writes them, into one JSON response.
import type { ClassificationList, EmbeddingList } from '../../contracts/openai.ts';
import type { AnswerHead, DocumentWriter, TokenCounts } from './answer-plan.ts';
import type { GenerationEvent } from './generation.ts';

/** How embeddings are written. */
interface EmbeddingFormat {
  /** How many numbers of each embedding are kept. */
  readonly dimensions: number;
  readonly encoding: 'float' | 'base64';
}

/** Collects events until all inputs have their embedding; `end` then writes the document. */
export class EmbeddingDocument implements DocumentWriter {
  readonly #head: AnswerHead;
  readonly #format: EmbeddingFormat;
  /** The items as JSON. Writing many numbers takes time, so each item is written as soon as it arrives. */
  readonly #items: string[] = [];

  constructor(head: AnswerHead, format: EmbeddingFormat) {
    this.#head = head;
    this.#format = format;
  }

  /** Adds an embedding. */
  write(event: GenerationEvent): void {
    if (event.type !== 'embedding') return;
    const { dimensions, encoding } = this.#format;
    const unit = toUnitLength(event.embedding.subarray(0, dimensions));
    const item: EmbeddingList['data'][number] = {
      object: 'embedding',
      index: event.index,
      embedding: encoding === 'base64' ? toBase64(unit) : [...unit],
    };
    this.#items[event.index] = JSON.stringify(item);
  }

  /** Returns the whole response. */
  end({ promptTokens }: TokenCounts): string {
    const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
    const rest = JSON.stringify({ model: this.#head.model, usage }).slice(1);
    return `{"object":"list","data":[${this.#items.join(',')}],${rest}`;
  }
}

/** Scales a vector to the Euclidean length 1. Zeros stay zeros. */
function toUnitLength(vector: Float32Array): Float32Array {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares) || 1;
  return vector.map((value) => value / length);
}

function toBase64({ buffer, byteOffset, byteLength }: Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}

/** Collects events until all inputs have their scores; `end` then writes the document. */
export class ClassificationDocument implements DocumentWriter {
  readonly #head: AnswerHead;
  readonly #isActivated: boolean;
  readonly #data: ClassificationList['data'] = [];

  /** @param isActivated whether scores become probabilities */
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

  /** Returns the whole response. */
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
