// Starts programs of tests: bundles if the tests are bundled (scripts/run-tests.mjs), else sources.
import { fileURLToPath } from 'node:url';

/** Returns Node's arguments that run the program at this address, which `programUrl` gives. */
export function argumentsOf(program: URL): string[] {
  const file = fileURLToPath(program);
  return file.endsWith('.ts') ? ['--import', import.meta.resolve('tsx'), file] : [file];
}
