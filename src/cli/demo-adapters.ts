// The three small adapters that come with the package, so that a first start has something to compare with the base.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Sources of the base that the demo adapters were trained for, as an artifact names its source. */
export const DEMO_BASES: readonly string[] = [
  'smollm2-135m-instruct',
  'smollm2-135m-instruct-q4',
  'HuggingFaceTB/SmolLM2-135M-Instruct',
];

/** Names of the adapters in a folder of demo adapters, sorted. */
export function demoNames(dir: string): string[] {
  const entries = readdirSync(dir, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

/** The folder of the demo adapters. Undefined if they were trained for another base. */
export function demoFolder(baseSource: string): string | undefined {
  if (!DEMO_BASES.includes(baseSource)) return undefined;
  return path.dirname(fileURLToPath(import.meta.resolve('#models/demo/README.md')));
}
