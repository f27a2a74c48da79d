// The packages of a package.json with pinned versions, installed once and kept between runs.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { home } from './served.ts';

const run = promisify(execFile);

/** The folder of installed programs, or why they can't be had. */
export type Installed = { readonly bin: string } | { readonly reason: string };

/** Installs the packages that a package.json pins. */
export async function npmPackages(pins: string): Promise<Installed> {
  const hash = createHash('sha256').update(readFileSync(pins)).digest('hex');
  const folder = path.join(home, 'npm', hash.slice(0, 16));
  const bin = path.join(folder, 'node_modules', '.bin');
  if (existsSync(folder)) return { bin };
  const building = `${folder}.tmp-${process.pid}`;
  try {
    await mkdir(building, { recursive: true });
    await cp(pins, path.join(building, 'package.json'));
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
    await run('npm', ['install', ...options], { cwd: building });
    await rename(building, folder);
    return { bin };
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    return { reason: `no packages of ${pins}: ${error}` };
  }
}
