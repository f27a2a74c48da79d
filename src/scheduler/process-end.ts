// How a child process ended, and whether that was its own doing. Knows no engine.
import type { ChildProcess } from 'node:child_process';

/** Signals by which a process ends for what it did itself. Others, SIGKILL above all, are sent from outside. */
const FAULT_SIGNALS: readonly NodeJS.Signals[] = [
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGSEGV',
  'SIGSYS',
  'SIGTRAP',
];

/** How a process ended; `error`: it never started. */
export type ProcessEnd = { signal: NodeJS.Signals } | { code: number } | { error: Error };

/** Whether something in the process ended it: a fault of native code, or an error that nobody caught. */
export function isOwnFault(end: ProcessEnd): boolean {
  return 'signal' in end ? FAULT_SIGNALS.includes(end.signal) : 'code' in end;
}

/** For the log. */
export function describeEnd(end: ProcessEnd): string {
  if ('signal' in end) {
    return end.signal === 'SIGKILL'
      ? 'SIGKILL (by the system, short of memory, or by somebody)'
      : end.signal;
  }
  return 'code' in end ? `exit code ${end.code}` : end.error.message;
}

/** Resolves when the process has exited and its last message is read (or it never started). */
export function processEnd(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    let end: ProcessEnd | undefined;
    const resolveIfOver = () => {
      if (end !== undefined && !child.connected) resolve(end);
    };
    child.on('error', (error) => {
      if (child.pid === undefined) resolve({ error });
    });
    child.once('exit', (code, signal) => {
      end = signal ? { signal } : { code: code ?? 0 };
      resolveIfOver();
    });
    child.once('disconnect', resolveIfOver);
  });
}
