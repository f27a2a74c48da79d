// How much memory this process may use: the machine's, or less if a control group of Linux limits it. Reads both
// versions of control groups, and every group up to the top: a container may lie in a smaller pod.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export interface MemoryLimit {
  readonly bytes: number;
  /** What sets it: the machine, or the file of a control group. */
  readonly source: string;
}

/** Bytes that a server may come to take, by what takes them. */
export interface MemoryParts {
  readonly base: number;
  readonly tokenizer: number;
  readonly server: number;
  readonly engine: number;
  readonly activations: number;
  /** All slots at their full length. */
  readonly kvCache: number;
  readonly adapterCache: number;
  /** For adapters that run, twice: slots are widened beside the old ones. */
  readonly adapterSlots: number;
}

/** What a server may come to take beside what it may. */
export interface MemoryBudget {
  readonly limit: MemoryLimit;
  readonly totalBytes: number;
  readonly parts: MemoryParts;
}

/** A control group of this process that accounts for memory, and those above it. */
export interface MemoryGroup {
  readonly version: 1 | 2;
  /** This process's own group first, then each parent that can be seen. */
  readonly folders: readonly string[];
}

/** Above `memory.high` the kernel slows a group down until it hardly runs: as good as a limit. */
const LIMIT_FILES = { 1: ['memory.limit_in_bytes'], 2: ['memory.max', 'memory.high'] } as const;

/**
 * Returns the smallest limit that applies to this process.
 * @param root where /proc and /sys are
 */
export function memoryLimit(root = '/', machineBytes = os.totalmem()): MemoryLimit {
  let limit: MemoryLimit = { bytes: machineBytes, source: 'machine' };
  for (const { version, folders } of memoryGroups(root)) {
    const files = folders.flatMap((folder) =>
      LIMIT_FILES[version].map((name) => path.join(folder, name)),
    );
    for (const file of files) {
      const bytes = Number.parseInt(readText(path.join(root, file)) ?? '', 10); // "max" is no number
      if (bytes < limit.bytes) limit = { bytes, source: file };
    }
  }
  return limit;
}

/** Returns the groups of this process by version; none where there are no control groups. */
export function memoryGroups(root = '/'): MemoryGroup[] {
  const own = readText(path.join(root, 'proc/self/cgroup')) ?? '';
  const mounts = readText(path.join(root, 'proc/self/mountinfo')) ?? '';
  const paths = {
    1: /^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(\/.*)$/m.exec(own)?.[1],
    2: /^0::(\/.*)$/m.exec(own)?.[1],
  };
  return mounts.split('\n').flatMap((line): MemoryGroup[] => {
    const mount = parseMount(line);
    const group = mount && paths[mount.version];
    if (!mount || group === undefined) return [];
    return [{ version: mount.version, folders: foldersUp(mount, group) }];
  });
}

interface Mount {
  readonly version: 1 | 2;
  /** The group that is mounted, and where. */
  readonly group: string;
  readonly folder: string;
}

/** A line of mountinfo, as proc(5) describes it; undefined if it is no hierarchy that accounts for memory. */
function parseMount(line: string): Mount | undefined {
  const [before = '', after = ''] = line.split(' - ');
  const [, , , group, folder] = before.split(' ');
  const [type, , options = ''] = after.split(' ');
  if (group === undefined || folder === undefined) return undefined;
  if (type === 'cgroup2') return { version: 2, group, folder };
  const hasMemory = type === 'cgroup' && options.split(',').includes('memory');
  return hasMemory ? { version: 1, group, folder } : undefined;
}

/** A container may see its own group as the mount's top, while its path is still that of the host. */
function foldersUp({ group, folder }: Mount, own: string): string[] {
  const inside =
    group === '/'
      ? own
      : own === group || own.startsWith(`${group}/`)
        ? own.slice(group.length)
        : '/';
  const folders = [folder];
  for (const part of inside.split('/')) {
    if (part === '' || part === '..') continue;
    folders.unshift(path.join(folders[0]!, part));
  }
  return folders;
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
