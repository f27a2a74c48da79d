// Real bases above 135M, from GGUF files that LORIKEET_BASES holds. Imported once, kept between runs.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { skipUnlessLong } from '../shared.ts';
import { succeed } from './program.ts';
import { home } from './served.ts';

const NAME = 'qwen2.5-coder-0.5b-instruct';

/** The file of Qwen2.5-Coder-0.5B-Instruct. */
export const gguf = path.join(process.env['LORIKEET_BASES'] ?? '', `${NAME}.Q4_K_M.gguf`);
const hasFile = process.env['LORIKEET_BASES'] && existsSync(gguf);
/** False if tests can read the file, otherwise the reason to skip. */
export const skipWithoutBase =
  skipUnlessLong || (hasFile ? false : `LORIKEET_BASES has no ${path.basename(gguf)}`);

/** Imports the file in the form of a user, or without further rounding. Returns the folder. */
export async function importLarger(quantization: 'nf4' | 'none' = 'nf4'): Promise<string> {
  const dir = path.join(home, 'models', quantization === 'nf4' ? NAME : `${NAME}-exact`);
  const flags = ['--quantization', quantization, '--no-build'];
  if (!existsSync(dir)) await succeed(['import', gguf, '--out', dir, ...flags], home);
  return dir;
}
