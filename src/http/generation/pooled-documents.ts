// Collects embeddings, or the classes of inputs as vLLM writes them, into one JSON response.
import { largest } from '../../common/long-arrays.ts';
import type { ClassificationList, EmbeddingList } from '../../contracts/openai.ts';
import type { DocumentWriter, ResponseHead } from './generation-plan.ts';

/** How embeddings are written. */
interface EmbeddingFormat {
  /** How many numbers of each embedding are kept. */
  readonly dimensions: number;
  readonly encoding: 'float' | 'base64';
}

/** Collects events until all inputs have their embedding; `end` then writes the document. */
export function createEmbeddingDocument(
  { model }: ResponseHead,
  { dimensions, encoding }: EmbeddingFormat,
): DocumentWriter {
  /** The items as JSON. Writing many numbers takes time, so each item is written as soon as it arrives. */
  const items: string[] = [];
  return {
    write(event) {
      if (event.type !== 'embedding') return;
      const unit = toUnitLength(event.embedding.subarray(0, dimensions));
      const item: EmbeddingList['data'][number] = {
        object: 'embedding',
        index: event.index,
        embedding: encoding === 'base64' ? toBase64(unit) : [...unit],
      };
      items[event.index] = JSON.stringify(item);
    },
    end({ promptTokens }) {
      const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
      const rest = JSON.stringify({ model, usage }).slice(1);
      return `{"object":"list","data":[${items.join(',')}],${rest}`;
    },
  };
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

/**
 * Collects events until all inputs have their scores; `end` then writes the document.
 * @param isActivated whether scores become probabilities
 */
export function createClassificationDocument(
  { id, created, model }: ResponseHead,
  isActivated: boolean,
): DocumentWriter {
  const data: ClassificationList['data'] = [];
  return {
    write(event) {
      if (event.type !== 'scores') return;
      const { index, scores, labels } = event;
      const probs = [...(isActivated ? toProbabilities(scores) : scores)];
      const label = labels[scores.indexOf(largest(scores))] ?? null;
      data[index] = { index, label, probs, num_classes: labels.length };
    },
    end({ promptTokens }) {
      const usage = {
        prompt_tokens: promptTokens,
        total_tokens: promptTokens,
        completion_tokens: 0,
        prompt_tokens_details: null,
      };
      return { id, object: 'list', created, model, data, usage };
    },
  };
}

/** The softmax of several scores, or the sigmoid of a single one. */
function toProbabilities(scores: Float32Array): Float32Array {
  if (scores.length === 1) return scores.map((score) => 1 / (1 + Math.exp(-score)));
  const max = largest(scores);
  const exps = Float32Array.from(scores, (score) => Math.exp(score - max));
  const sum = exps.reduce((total, value) => total + value, 0);
  return exps.map((value) => value / sum);
}
