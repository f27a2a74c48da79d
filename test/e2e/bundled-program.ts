// Runs a program of the tests from its bundle, once per processor at the same time.
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';

const MAX_PROCESSES = 4;

/** Resolves with what each process wrote. Rejects if one fails; its output is in the error. */
export async function runOnEachProcessor(
  program: string,
  argsOf: (index: number, count: number) => readonly string[],
): Promise<string[]> {
  const count = Math.min(MAX_PROCESSES, availableParallelism());
  const runs = Array.from({ length: count }, async (_, i) => {
    const args = ['--expose-gc', 'scripts/bundled.mjs', program, ...argsOf(i, count)];
    const run = promisify(execFile)(process.execPath, args);
    const { stdout } = await run.catch(({ message, stdout: said }) => {
      throw new Error(`${message}\n${said}`);
    });
    return stdout;
  });
  return Promise.all(runs);
}
