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

/** Forms of an import: as a user does it, without further rounding, and for four times the context. */
const FORMS = {
  usual: { suffix: '', flags: [] },
  exact: { suffix: '-exact', flags: ['--quantization', 'none'] },
  long: { suffix: '-long', flags: ['--rope-scaling', '{"rope_type":"yarn","factor":4}'] },
} as const;

/** Imports the file. Returns the folder. */
export async function importLarger(form: keyof typeof FORMS = 'usual'): Promise<string> {
  const { suffix, flags } = FORMS[form];
  const dir = path.join(home, 'models', NAME + suffix);
  if (!existsSync(dir)) await succeed(['import', gguf, '--out', dir, '--no-build', ...flags], home);
  return dir;
}
