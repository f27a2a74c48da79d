// Downloads a Python wheel with pip, checks its SHA-256, and unpacks it. pip uses the user's mirrors, proxies and certificates,
// and keeps a separate cache.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { FetchError } from '../common/errors.ts';
import { hashFile } from '../common/regular-file.ts';

/** A wheel on a package index. */
export interface Wheel {
  /** A pip requirement: `name==version`. */
  readonly requirement: string;
  readonly sha256: string;
}

/** Downloads the wheel into the empty folder `dir`. Returns the folder of its files. Throws `FetchError`. */
export async function fetchWheel(
  { requirement, sha256 }: Wheel,
  dir: string,
  signal?: AbortSignal,
): Promise<string> {
  const options = ['--no-deps', '--only-binary=:all:', '--quiet', '--disable-pip-version-check'];
  const args = ['download', ...options, '-d', dir, requirement];
  await runPython(`pip download ${requirement}`, ['pip', ...args], signal);
  const name = readdirSync(dir).find((entry) => entry.endsWith('.whl'));
  if (!name) throw new FetchError(`pip download ${requirement}: pip downloaded no wheel`);
  const wheel = path.join(dir, name);
  const actual = await hashFile(wheel);
  if (actual.sha256 !== sha256)
    throw new FetchError(`${name}: its SHA-256 is ${actual.sha256} instead of ${sha256}`);
  const unpacked = path.join(dir, 'unpacked');
  await runPython(`unpacking ${name}`, ['zipfile', '-e', wheel, unpacked], signal);
  return unpacked;
}

const execute = promisify(execFile);

/** Runs a module of Python's. `what` names the work in errors. */
async function runPython(
  what: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  try {
    await execute('python3', ['-m', ...args], { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    const { stderr = '', message } = cause as Error & { readonly stderr?: string };
    const lastLine = stderr.trim().split('\n').at(-1);
    const missing = `Cannot run python3, which is needed for ${what}: ${message}`;
    throw new FetchError(lastLine ? `${what}: ${lastLine}` : missing, { cause });
  }
}
