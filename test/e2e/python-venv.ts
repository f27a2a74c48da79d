// A Python with the packages of a requirements file, made once and kept between runs.
import path from 'node:path';
import { execute } from './execute.ts';
import { installOnce } from './installed.ts';

/** The interpreter, or why there is none here (no Python, no registry). */
export async function pythonWith(
  requirements: string,
): Promise<{ python: string } | { reason: string }> {
  const installed = await installOnce('python', requirements, async (building) => {
    // Without a pip of its own, and without compiling what nobody imports: both take longer than some of the packages.
    await execute('python3', ['-m', 'venv', '--without-pip', building]);
    const pip = ['-m', 'pip', '--python', path.join(building, 'bin', 'python')];
    const options = ['--quiet', '--disable-pip-version-check', '--no-compile'];
    // Its scripts name the folder that they are made in; its interpreter does not.
    await execute('python3', [...pip, 'install', ...options, '-r', requirements]);
  });
  if ('reason' in installed) return installed;
  return { python: path.join(installed.folder, 'bin', 'python') };
}

/** The environment of a program in `bin`: no settings of the user, and no look-up of prices by LiteLLM. */
export function clientEnvironment(bin: string): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: bin, LITELLM_LOCAL_MODEL_COST_MAP: 'True' };
}
