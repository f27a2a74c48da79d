// Downloads a Python wheel with pip and checks its SHA-256. pip uses the user's mirrors, proxies and certificates, and keeps a
// separate cache.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { FetchError } from '../common/errors.ts';
import { hashFile } from '../common/regular-file.ts';

/** A wheel on a package index. */
export interface Wheel {
  /** A pip requirement: `name==version`. */
  readonly requirement: string;
  readonly sha256: string;
}

/** Downloads the wheel into the empty folder `dir` and returns its path. Throws `FetchError`. */
export async function fetchWheel(
  { requirement, sha256 }: Wheel,
  dir: string,
  signal?: AbortSignal,
): Promise<string> {
  const options = ['--no-deps', '--only-binary=:all:', '--quiet', '--disable-pip-version-check'];
  await runPython(['-m', 'pip', 'download', ...options, '-d', dir, requirement], signal);
  const name = readdirSync(dir).find((entry) => entry.endsWith('.whl'));
  if (!name) throw new FetchError(`pip download ${requirement}: pip downloaded no wheel`);
  const wheel = path.join(dir, name);
  const { sha256: found } = await hashFile(wheel);
  if (found !== sha256)
    throw new FetchError(`${name}: its SHA-256 is ${found} instead of ${sha256}`);
  return wheel;
}

function runPython(args: string[], signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const child = spawn('python3', args, { stdio: ['ignore', 'ignore', 'pipe'], signal });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors = `${errors}${chunk}`.slice(-2000);
    });
    child.on('error', (cause) => {
      if (signal?.aborted) reject(signal.reason);
      else
        reject(
          new FetchError(`Cannot run python3, which is needed for pip: ${cause.message}`, {
            cause,
          }),
        );
    });
    child.on('close', (code) => {
      const lastLine = errors.trim().split('\n').at(-1) ?? '';
      if (code === 0) resolve();
      else reject(new FetchError(`pip download ${args.at(-1)}: ${lastLine}`));
    });
  });
}
