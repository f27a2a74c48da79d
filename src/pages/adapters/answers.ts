// Asks models: for a short answer, for the classes of a text, or for the similarity of two.
import type { ClassificationList, EmbeddingList } from '../../contracts/openai.ts';
import { readModel, requestJson } from '../api.ts';
import { likelyClasses } from '../classes.ts';

/** Enough to see how a model answers. */
const MAX_TOKENS = 200;

/** A class with its probability, or a model with the similarity that it sees. */
export interface NamedShare {
  readonly name: string;
  readonly share: number;
  /** How it is shown, unless in percent. */
  readonly text?: string;
}

/** Requests a short answer. Sampling is greedy, so that a difference comes from the models. */
export async function generate<T>(
  path: string,
  { model, json, signal }: { model: string; json: object; signal: AbortSignal },
): Promise<T> {
  const { max_model_len: context = 2 * MAX_TOKENS } = await readModel(model);
  const max_tokens = Math.min(MAX_TOKENS, Math.floor(context / 2)); // the prompt needs room
  return requestJson<T>(path, { json: { model, temperature: 0, max_tokens, ...json }, signal });
}

/** Returns the likeliest classes of a text, and their shares. */
export async function classify(
  model: string,
  input: string,
  signal?: AbortSignal,
): Promise<readonly NamedShare[]> {
  const [{ data }, { labels = [] }] = await Promise.all([
    requestJson<ClassificationList>('classify', { json: { model, input }, signal }),
    readModel(model),
  ]);
  const shares = data[0] ? likelyClasses(data[0], labels) : [];
  return shares.map(({ label: name, share }) => ({ name, share }));
}

/** Returns the cosine similarity of two texts for each model. Embeddings have length 1. */
export function compare(
  models: readonly string[],
  input: readonly string[],
): Promise<readonly NamedShare[]> {
  return Promise.all(
    models.map(async (name) => {
      const json = { model: name, input, encoding_format: 'float' };
      const { data } = await requestJson<EmbeddingList>('v1/embeddings', { json });
      const [a, b] = data.map(({ embedding }) => embedding as number[]);
      const share = a!.reduce((sum, one, i) => sum + one * b![i]!, 0);
      return { name, share, text: share.toFixed(3) };
    }),
  );
}
