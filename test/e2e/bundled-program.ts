// Runs a program of the tests from its bundle, once per processor at the same time.
import { availableParallelism } from 'node:os';
import { execute } from './execute.ts';

const MAX_PROCESSES = 4;

/** Resolves with what each process wrote. Rejects if one fails; its output is in the error. */
export async function runOnEachProcessor(
  program: string,
  argsOf: (index: number, count: number) => readonly string[],
): Promise<string[]> {
  const count = Math.min(MAX_PROCESSES, availableParallelism());
  const runs = Array.from({ length: count }, async (_, i) => {
    const args = ['--expose-gc', 'scripts/bundled.mjs', program, ...argsOf(i, count)];
    const run = execute(process.execPath, args);
    const { stdout } = await run.catch(({ message, stdout: said }) => {
      throw new Error(`${message}\n${said}`);
    });
    return stdout;
  });
  return Promise.all(runs);
}
