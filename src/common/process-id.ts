// Names of processes, which tell the machine that they run on and whether they have ended.
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';

/** The scope of process ids. Host names are not unique, and containers may share one. */
export const MACHINE = [
  os.hostname(),
  readIfLinux(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
  readIfLinux(() => readlinkSync('/proc/self/ns/pid')),
].join('/');

/** Returns a name for this process that no earlier process had. */
export function createOwner(nonce: string): string {
  return [MACHINE, process.pid, nonce].join('#');
}

/** Whether there is no process of this id on this machine. */
export function hasProcessEnded(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function readIfLinux(read: () => string): string {
  try {
    return read().trim();
  } catch {
    return '';
  }
}
