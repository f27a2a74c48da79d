// llama.cpp's converter of adapters: in the checkout that LLAMA_CPP names, else out of the source distribution of
// llama-cpp-python, which carries one. Fetched once by pip, kept between runs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { runPython } from './python.ts';
import { home } from './served.ts';

/** The release of llama-cpp-python that carries the sources of llama.cpp. */
export const LLAMA_SOURCES = 'llama_cpp_python==0.3.36';
const SCRIPT = 'convert_lora_to_gguf.py';
/** The parts of the checkout that the script needs: 2 MB of 77. */
const PARTS = [SCRIPT, 'conversion', 'gguf-py'];

/** The script, or why it can't be had (no pip, no registry). */
export function findConverter(): { script: string } | { reason: string } {
  const checkout = process.env['LLAMA_CPP'] ?? path.join(home, 'llama.cpp');
  const script = path.join(checkout, SCRIPT);
  if (existsSync(script)) return { script };
  if (process.env['LLAMA_CPP']) return { reason: `LLAMA_CPP has no ${SCRIPT}` };
  const fault = fetchSources(checkout);
  return fault === undefined ? { script } : { reason: `${SCRIPT} can't be had: ${fault}` };
}

/** Unpacks the parts to `target` in one rename; what went wrong, if anything. */
function fetchSources(target: string): string | undefined {
  mkdirSync(home, { recursive: true });
  const building = mkdtempSync(`${target}.tmp-`);
  try {
    const options = ['--no-deps', '--no-binary=:all:', '--quiet', '--disable-pip-version-check'];
    const { status, error } = runPython([
      '-m',
      'pip',
      'download',
      ...options,
      '-d',
      building,
      LLAMA_SOURCES,
    ]);
    const archive = readdirSync(building).find((name) => name.endsWith('.tar.gz'));
    if (status !== 0 || !archive)
      return error.trim().split('\n').at(-1) ?? 'no source distribution';
    const root = `${archive.slice(0, -'.tar.gz'.length)}/vendor/llama.cpp`;
    const parts = PARTS.map((part) => `${root}/${part}`);
    const tar = spawnSync('tar', ['xzf', archive, ...parts], { cwd: building, encoding: 'utf8' });
    if (tar.status !== 0) return tar.error?.message ?? tar.stderr.trim();
    renameSync(path.join(building, root), target);
    return undefined;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}
