// Runs commands: in this process, or the program itself, but without the launcher, which is the matter of test/e2e.
import { spawnSync } from 'node:child_process';
import { runCommandLine } from '../../src/cli/command-line.ts';
import { programUrl } from '../../src/common/fork-program.ts';
import { argumentsOf } from '../node-program.ts';

/** Runs a command in this process to its end. */
export async function runCommand(args: readonly string[]) {
  const outcome = { code: -1, out: '', error: '' };
  outcome.code = await runCommandLine(args, {
    out: (text) => {
      outcome.out += text;
    },
    error: (text) => {
      outcome.error += text;
    },
  });
  return outcome;
}

/** Node's arguments that run the program. */
export const MAIN = argumentsOf(programUrl('../../src/main', import.meta.url));

/** Runs the program to its end. */
export const runMain = (args: readonly string[], environment: Readonly<Record<string, string>>) =>
  spawnSync(process.execPath, [...MAIN, ...args], {
    env: { ...process.env, ...environment },
    encoding: 'utf8',
  });
