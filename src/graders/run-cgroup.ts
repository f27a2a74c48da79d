// Cgroups for the runs of Python graders: one limit of memory and processes for all processes of a run. Needs cgroup v2, and a
// server in a subgroup of a group that it may write to, as systemd's Delegate= and DelegateSubgroup= make it.
import { existsSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { memoryGroups } from '../common/memory-limit.ts';

/** The limits of a cgroup. */
interface CgroupLimits {
  readonly memoryBytes: number;
  readonly processes: number;
}

/** The names of systemd's units. The siblings of such a group belong to systemd. */
const UNIT = /\.(service|scope|slice)$/;

/**
 * Returns the folder in which the cgroups of runs can be created, with its controllers enabled. Undefined if there is none.
 * @param root the folder that holds /proc and /sys
 */
export function prepareCgroupParent(root = '/'): string | undefined {
  const { folders = [] } = memoryGroups(root).find(({ version }) => version === 2) ?? {};
  const [own, parent] = folders;
  if (own === undefined || parent === undefined || UNIT.test(own)) return undefined;
  const folder = path.join(root, parent);
  try {
    writeFileSync(path.join(folder, 'cgroup.subtree_control'), '+memory +pids');
    return folder;
  } catch {
    return undefined; // not delegated
  }
}

/** Creates a cgroup, which the processes of one run enter. Returns its folder. */
export function createCgroup(parent: string, { memoryBytes, processes }: CgroupLimits): string {
  const folder = mkdtempSync(path.join(parent, 'lorikeet-grader-'));
  const write = (file: string, limit: number) =>
    writeFileSync(path.join(folder, file), String(limit));
  write('memory.max', memoryBytes);
  write('memory.oom.group', 1);
  write('pids.max', processes);
  if (existsSync(path.join(folder, 'memory.swap.max'))) write('memory.swap.max', 0);
  return folder;
}

/** Whether the kernel has killed the processes of a cgroup because they exceeded its memory. */
export function isOutOfMemory(folder: string): boolean {
  return /^oom_kill [1-9]/m.test(readFileSync(path.join(folder, 'memory.events'), 'utf8'));
}

/** The processes of a run may leave its cgroup a moment after its output ended. */
const REMOVAL = { attempts: 50, delayMs: 20 };

/** Removes the cgroup of a run that has ended. An empty one that cannot be removed does no harm. */
export async function removeCgroup(folder: string): Promise<void> {
  for (let attempt = 0; attempt < REMOVAL.attempts; attempt++) {
    try {
      return rmdirSync(folder);
    } catch {
      await delay(REMOVAL.delayMs);
    }
  }
}
