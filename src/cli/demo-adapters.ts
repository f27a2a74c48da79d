// The three small adapters that come with the package, so that a first start has something to compare with the base.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Sources of the base that the demo adapters were trained for, as an artifact names its source. */
export const DEMO_BASES: readonly string[] = [
  'smollm2-135m-instruct',
  'smollm2-135m-instruct-q4',
  'HuggingFaceTB/SmolLM2-135M-Instruct',
];

/** The adapters' names, sorted. */
export const DEMO_NAMES: readonly string[] = ['intent', 'wordnet', 'zen'];

/** The folder of the demo adapters. Undefined if they were trained for another base. */
export function demoAdapters(baseSource: string): string | undefined {
  if (!DEMO_BASES.includes(baseSource)) return undefined;
  return path.dirname(fileURLToPath(import.meta.resolve('#models/demo/README.md')));
}
