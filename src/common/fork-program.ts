// Forks a program of this project as a child process that does not outlive its parent.
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process';

/** Forks the program at `entry`: a source, which tsx loads, or a built file. When this process ends, the child is killed. */
export function forkProgram(
  entry: URL,
  args: readonly string[],
  { execArgv = [], ...options }: ForkOptions,
): ChildProcess {
  const loader = entry.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  const child = fork(entry, args, { ...options, execArgv: [...execArgv, ...loader] });
  const kill = () => child.kill('SIGKILL'); // a busy child does not see the channel close
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}
