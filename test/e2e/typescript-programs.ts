// Programs in TypeScript that the documents and the playground show: compiled as strictly as anybody may compile them, and run.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { execute } from './execute.ts';

/** Compiles a program and runs it in its folder, from which its packages are looked up. Returns what it prints. */
export async function runTypeScript(
  file: string,
  program: string,
  environment: NodeJS.ProcessEnv,
): Promise<string> {
  writeFileSync(file, `${program}\n`);
  await compile(file);
  const env = { PATH: process.env['PATH'], ...environment };
  const { stdout } = await execute(process.execPath, ['--import', TSX, file], {
    cwd: path.dirname(file),
    env,
  });
  return stdout;
}

const TSX = import.meta.resolve('tsx');

/** Rejects with the compiler's words. */
async function compile(file: string): Promise<void> {
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes'];
  const options =
    '--ignoreConfig --noEmit --module nodenext --target es2022 --skipLibCheck --types node'.split(
      ' ',
    );
  const tsc = path.resolve('node_modules/.bin/tsc');
  await execute(tsc, [...options, ...strict, file]).catch(({ stdout, message }) => {
    assert.fail(stdout || message);
  });
}
