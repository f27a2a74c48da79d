// Starts the trainer as a child process that does not outlive its parent. Knows no jobs.
import { type ChildProcess, fork } from 'node:child_process';
import os from 'node:os';
import type { RequestMessage, TrainerRequest } from '../contracts/training-messages.ts';

/** Settings of a trainer process. */
export interface ForkOptions {
  /** 0 (normal priority) to 19 (lowest priority). */
  readonly niceness?: number;
  /** Where standard error goes. */
  readonly stderr?: 'inherit' | 'pipe';
  /** The program. Tests use another one. */
  readonly entry?: URL;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const TRAINER = new URL(`../../trainer/main.${EXTENSION}`, import.meta.url);

/** Forks the trainer. If the parent is killed, the channel closes and the trainer ends; at any other end it is killed. */
export function forkTrainer(
  request: TrainerRequest,
  { niceness = 0, stderr = 'inherit', entry = TRAINER }: ForkOptions = {},
): ChildProcess {
  const child = fork(entry, [], {
    execArgv: entry.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [],
    stdio: ['inherit', 'inherit', stderr, 'ipc'],
  });
  // If the child cannot start or dies at once, its own events report it.
  child.send({ type: 'request', request } satisfies RequestMessage, () => {});
  // Now, because the threads that it starts later inherit the priority.
  if (niceness > 0 && child.pid !== undefined) setNiceness(child.pid, niceness);
  const kill = () => child.kill('SIGKILL'); // the run can continue from its checkpoint
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}

/** Does nothing if the process is gone. */
function setNiceness(pid: number, niceness: number): void {
  try {
    os.setPriority(pid, niceness);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SYSTEM_ERROR') throw error;
  }
}
