// The demo adapters of the package, and the bases that they were trained for.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../settings/config.ts';
import type { Access } from '../tenants/access.ts';

/** The sources of the base that the demo adapters were trained for. An artifact records its source. */
export const DEMO_BASES: readonly string[] = [
  'smollm2-135m-instruct',
  'smollm2-135m-instruct-q4',
  'HuggingFaceTB/SmolLM2-135M-Instruct',
];

/** Returns the folder of the demo adapters. Undefined if they are not served. */
export function servedDemos(
  { noDemo }: Pick<Config, 'noDemo'>,
  access: Access['kind'],
  baseSource: string,
): string | undefined {
  // With keys, a tenant has only the adapters that the operator grants it.
  return noDemo || access === 'keys' ? undefined : demoFolder(baseSource);
}

/** Returns the folder of the demo adapters. Undefined if they were trained for another base. */
function demoFolder(baseSource: string): string | undefined {
  if (!DEMO_BASES.includes(baseSource)) return undefined;
  return path.dirname(fileURLToPath(import.meta.resolve('#models/demo/README.md')));
}

/** Returns the names of the demo adapters in a folder, sorted. */
export function demoNames(dir: string): string[] {
  const entries = readdirSync(dir, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}
