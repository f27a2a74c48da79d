// Where the shared reference data lies; tests that need it skip visibly where it is absent.
import { existsSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(process.env['LORIKEET_SHARED'] ?? '../shared');

/** The path below the shared folder, or undefined where it is absent. */
export function sharedPath(...parts: string[]): string | undefined {
  const full = path.join(root, ...parts);
  return existsSync(full) ? full : undefined;
}

/** For `test(name, { skip: skipUnless(path) })`: the reason, or false. */
export function skipUnless(found: string | undefined): string | false {
  return found ? false : 'shared reference data is absent (LORIKEET_SHARED)';
}
