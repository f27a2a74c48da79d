// Tells the processes of this machine from those of others, and whether one has ended.
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';

/** Names the scope of process ids. Host names are not unique, and containers may share one. */
export function machineId(): string {
  const read = (get: () => string) => {
    try {
      return get().trim();
    } catch {
      return ''; // not Linux
    }
  };
  const boot = read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
  const processes = read(() => readlinkSync('/proc/self/ns/pid'));
  return [os.hostname(), boot, processes].join('/');
}

/** Whether there is no process of this id on this machine. */
export function isProcessGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
