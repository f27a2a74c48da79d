// A Python with the packages of a requirements file, made once and kept between runs.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { home } from './served.ts';

const run = promisify(execFile);

/** The interpreter, or why there is none here (no Python, no registry). */
export async function pythonWith(
  requirements: string,
): Promise<{ python: string } | { reason: string }> {
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex');
  const folder = path.join(home, 'python', hash.slice(0, 16));
  const python = path.join(folder, 'bin', 'python');
  if (existsSync(python)) return { python };
  const building = `${folder}.tmp-${process.pid}`;
  try {
    await mkdir(path.dirname(folder), { recursive: true });
    // Without a pip of its own, and without compiling what nobody imports: both take longer than some of the packages.
    await run('python3', ['-m', 'venv', '--without-pip', building]);
    const pip = ['-m', 'pip', '--python', path.join(building, 'bin', 'python')];
    const options = ['--quiet', '--disable-pip-version-check', '--no-compile'];
    await run('python3', [...pip, 'install', ...options, '-r', requirements]);
    // Its scripts name the folder that they were made in; its interpreter does not.
    await rename(building, folder);
    return { python };
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    return { reason: `no Python with ${path.basename(requirements)}: ${error}` };
  }
}

/** The environment of a program in `bin`: no settings of the user, and no look-up of prices by LiteLLM. */
export function clientEnvironment(bin: string): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: bin, LITELLM_LOCAL_MODEL_COST_MAP: 'True' };
}
