// The trainer as a child process: how it is started, and that it does not outlive its parent. Who starts it reads its
// messages. Knows no jobs.
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import type { RequestMessage, TrainerRequest } from '../contracts/training.ts';

export interface ForkOptions {
  /** 0 to 19: how far it stands back behind other processes. */
  readonly niceness?: number;
  /** Where its standard error goes. */
  readonly stderr?: 'inherit' | 'pipe';
  /** The program; tests have their own. */
  readonly entry?: URL;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const TRAINER = new URL(`../../trainer/main.${EXTENSION}`, import.meta.url);

/** A parent that is killed closes the channel, at which the trainer ends by itself; at any other end it is killed. */
export function forkTrainer(
  request: TrainerRequest,
  { niceness = 0, stderr = 'inherit', entry = TRAINER }: ForkOptions = {},
): ChildProcess {
  const child = fork(entry, [], {
    execArgv: entry.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
    stdio: ['inherit', 'inherit', stderr, 'ipc'],
  });
  // A child that cannot start, or dies at once, says so by its own events.
  child.send({ type: 'request', request } satisfies RequestMessage, () => {});
  // Before it has any other thread: they inherit it.
  if (niceness > 0 && child.pid !== undefined) setNiceness(child.pid, niceness);
  const kill = () => child.kill('SIGKILL'); // a run that is cut off goes on from its checkpoint
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}

/** Without effect on a process that is gone already. */
function setNiceness(pid: number, niceness: number): void {
  try {
    os.setPriority(pid, niceness);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error;
  }
}
