// The head of an adapter that classifies sequences: a linear layer over the hidden state of the last token.

import { MAX_LABELS } from '../../src/contracts/training-settings.ts';
import type { OutputSource } from './outputs.ts';
import { invalidAdapter } from './refusal.ts';
import { CLASSIFIER_NAMES, tensorName } from './tensor-names.ts';
import { expectValues } from './tensors.ts';

/** A classification head. D = hidden size. */
export interface Classifier {
  /** The labels of the scores, in order. */
  readonly labels: readonly string[];
  /** [labels, D], row-major. */
  readonly weight: Float32Array;
}

/** Reads the head of a classifier; undefined if the adapter is none. Throws `ServeError` (422) with the tensor as `param`. */
export function readClassifier({
  tensors,
  config,
  model,
}: Omit<OutputSource, 'base'>): Classifier | undefined {
  if (!config.classifies) return undefined;
  const names = CLASSIFIER_NAMES.map((name) => tensorName(name, 'whole'));
  const [name, ...others] = names.filter((name) => tensors.has(name));
  if (name === undefined) throw invalidAdapter(names[0]!, 'is missing');
  if (others.length > 0) throw invalidAdapter(others[0]!, `is a second head beside ${name}`);
  const [count = 0] = tensors.get(name)!.shape;
  if (count > MAX_LABELS)
    throw invalidAdapter(name, `has ${count} labels; the limit is ${MAX_LABELS}`);
  const weight = expectValues(tensors, name, [count, model.hiddenSize]);
  return { labels: classNames(count, config.labels), weight };
}

/** Returns the names of all classes. Those without one are called as in transformers. */
export function classNames(count: number, names: Readonly<Record<string, string>>): string[] {
  return Array.from({ length: count }, (_, i) => names[i] ?? `LABEL_${i}`);
}
