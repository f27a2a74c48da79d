// Forks a program of this project as a child process that does not outlive its parent.
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process';
import os from 'node:os';

/** Node's options, and a priority from 0 (normal) to 19 (lowest). */
interface ProgramOptions extends ForkOptions {
  readonly niceness?: number;
}

/**
 * Returns the address of a program, given without its extension: a source file next to sources, and a built one next to built ones.
 * @param from the `import.meta.url` of the module that starts it
 */
export function programUrl(path: string, from: string): URL {
  return new URL(`${path}.${from.endsWith('.ts') ? 'ts' : 'js'}`, from);
}

/**
 * Forks the program at `entry`: a built one, or a source file, which tsx loads if Node cannot. When this process ends, the child is
 * killed.
 */
export function forkProgram(
  entry: URL,
  args: readonly string[],
  { execArgv = [], niceness = 0, ...options }: ProgramOptions,
): ChildProcess {
  const { typescript } = process.features as { readonly typescript?: string | false };
  const needsLoader = entry.pathname.endsWith('.ts') && !typescript;
  const loader = needsLoader ? ['--import', import.meta.resolve('tsx')] : [];
  const child = fork(entry, args, { ...options, execArgv: [...execArgv, ...loader] });
  // Set immediately, because the threads that it starts later inherit the priority.
  if (niceness > 0 && child.pid !== undefined) setNiceness(child.pid, niceness);
  const kill = () => child.kill('SIGKILL'); // a busy child does not see the channel close
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}

/** Kills the process if it is still there. */
function setNiceness(pid: number, niceness: number): void {
  try {
    os.setPriority(pid, niceness);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error;
  }
}
