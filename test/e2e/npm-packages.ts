// The packages of a package.json with pinned versions, installed once and kept between runs.
import { cp, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { execute } from './execute.ts';
import { installOnce } from './installed.ts';

/** The folder of installed programs, or why they can't be had. */
export type Installed = { readonly bin: string } | { readonly reason: string };

/** Installs the packages that a package.json pins. */
export async function npmPackages(pins: string): Promise<Installed> {
  const installed = await installOnce('npm', pins, async (building) => {
    await mkdir(building);
    await cp(pins, path.join(building, 'package.json'));
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
    await execute('npm', ['install', ...options], { cwd: building });
  });
  if ('reason' in installed) return installed;
  return { bin: path.join(installed.folder, 'node_modules', '.bin') };
}
