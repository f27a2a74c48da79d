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

/** A field of its status in KiB, such as `VmRSS`: resident memory, mapped files included. */
export function statusKb(pid: number, field: 'VmRSS' | 'RssAnon'): number {
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
