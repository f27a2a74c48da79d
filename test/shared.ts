// Finds the shared reference data. Tests that need it are skipped with a reason if it is absent.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';

const root = path.resolve(process.env['LORIKEET_SHARED'] ?? '../shared');

/** Returns a path in the shared folder, or undefined if it does not exist. */
export function sharedPath(...parts: string[]): string | undefined {
  const full = path.join(root, ...parts);
  return existsSync(full) ? full : undefined;
}

/** Returns false if the data exists, otherwise the reason to skip: `test(name, { skip: skipUnless(path) })`. */
export function skipUnless(found: string | undefined): string | false {
  return found ? false : 'shared reference data not found. Set LORIKEET_SHARED to its folder.';
}

/** False if long tests are to run, otherwise the reason to skip. */
export const skipUnlessLong = process.env['LORIKEET_E2E_LONG']
  ? false
  : 'it takes minutes, and LORIKEET_E2E_LONG is not set';

type Run = (t: TestContext) => void | Promise<void>;

/** Declares the tests of a file that are all skipped for the same reason: `const test = testUnless(skip)`. */
export function testUnless(skip: string | false): (name: string, run: Run) => void {
  return (name, run) => void test(name, { skip }, run);
}
