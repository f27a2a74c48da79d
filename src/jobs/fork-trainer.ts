// Starts the trainer as a child process that does not outlive its parent. Knows no jobs.
import type { ChildProcess } from 'node:child_process';
import { forkProgram } from '../common/fork-program.ts';
import type {
  RequestMessage,
  TrainerRequest,
  TrainPriority,
} from '../contracts/training-messages.ts';

/** Settings of a trainer process. */
export interface ForkOptions {
  /** 0 (normal priority) to 19 (lowest priority). */
  readonly niceness?: number;
  /** Absent: the niceness alone. */
  readonly priority?: TrainPriority;
  /** Where standard error goes. */
  readonly stderr?: 'inherit' | 'pipe';
  /** The program. Tests use another one. */
  readonly entry?: URL;
}

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const TRAINER = new URL(`../../trainer/main.${EXTENSION}`, import.meta.url);

/**
 * Forks the trainer. If the parent is killed, the channel closes and the trainer ends; at any other end it is killed, and its
 * run can continue from its checkpoint.
 */
export function forkTrainer(
  request: TrainerRequest,
  { niceness = 0, priority, stderr = 'inherit', entry = TRAINER }: ForkOptions = {},
): ChildProcess {
  const child = forkProgram(entry, [], { niceness, stdio: ['inherit', 'inherit', stderr, 'ipc'] });
  // If the child cannot start or dies at once, its own events report it.
  const message: RequestMessage = { type: 'request', request, ...(priority && { priority }) };
  child.send(message, () => {});
  return child;
}
