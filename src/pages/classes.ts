// The classes of a text.
import type { ClassificationList } from '../contracts/openai.ts';

/** A class and its probability. */
export interface ClassShare {
  readonly label: string;
  readonly share: number;
}

const MAX_CLASSES = 10;

/**
 * Returns the most likely classes of a text, at most ten.
 * @param labels the names of the classes; those without a name are called as in transformers
 */
export function likelyClasses(
  { probs }: ClassificationList['data'][number],
  labels: readonly string[],
): ClassShare[] {
  const shares = probs.map((share, i) => ({ label: labels[i] ?? `LABEL_${i}`, share }));
  return shares.sort((a, b) => b.share - a.share).slice(0, MAX_CLASSES);
}
