// Other processes as /proc shows them (Linux). One that has ended has no children, no command and no memory.
import { readFileSync } from 'node:fs';

export function childrenOf(pid: number): number[] {
  const list = read(`/proc/${pid}/task/${pid}/children`);
  return list.split(' ').filter(Boolean).map(Number);
}

/** The process itself and all below it. */
export function treeOf(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(treeOf)];
}

export const commandOf = (pid: number): string => read(`/proc/${pid}/cmdline`);

/** The process that a server forked for its engine. Undefined: there is none at this moment. */
export function enginePidOf(server: number): number | undefined {
  return childrenOf(server).find((pid) => commandOf(pid).includes('engine-process'));
}

/** Clock ticks of `/proc/PID/stat`; `getconf CLK_TCK`. */
const TICK_MS = 10;

/** The CPU time that a process has used. */
export function cpuMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // After the name, which may contain spaces: state is field 3, utime and stime are 14 and 15.
  const [user = 0, system = 0] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14);
  return (Number(user) + Number(system)) * TICK_MS;
}

/** A field of its status in KiB, such as `VmRSS`: resident memory, mapped files included. */
export function statusKb(pid: number, field: 'VmRSS' | 'VmHWM' | 'RssAnon' | 'RssFile'): number {
  const found = new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(read(`/proc/${pid}/status`));
  return Number(found?.[1] ?? 0);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
