// Finds how much memory this process may use: the machine's, or less if a Linux cgroup limits it. Reads both versions of
// cgroups, and all parent groups, because a container may run in a smaller pod.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** The memory that this process may use. */
export interface MemoryLimit {
  readonly bytes: number;
  /** `machine`, or the file of the cgroup that sets the limit. */
  readonly source: string;
}

/** The most bytes that each part of a server may take. */
export interface MemoryParts {
  readonly base: number;
  readonly tokenizer: number;
  readonly server: number;
  readonly engine: number;
  /** Processes that are started on first use, for long prompts and for constraints. */
  readonly helpers: number;
  /** Left to trainers next to the server. */
  readonly trainers: number;
  readonly activations: number;
  /** With all slots at full length. */
  readonly kvCache: number;
  readonly adapterCache: number;
  /** Allocated as prompts are cached. */
  readonly prefixCache: number;
  /** Twice the slots, because the old slots are kept while wider ones are built. */
  readonly adapterSlots: number;
}

/** The most memory that a server may take, and its limit. */
export interface MemoryBudget {
  readonly limit: MemoryLimit;
  readonly totalBytes: number;
  readonly parts: MemoryParts;
}

/** A cgroup of this process that accounts for memory, with its parents. */
interface MemoryGroup {
  readonly version: 1 | 2;
  /** The process's own group first, then each visible parent. */
  readonly folders: readonly string[];
}

/** Above `memory.high` the kernel slows a group down until it hardly runs, so it counts as a limit. */
const LIMIT_FILES = { 1: ['memory.limit_in_bytes'], 2: ['memory.max', 'memory.high'] } as const;

/**
 * Returns the smallest limit that applies to this process.
 * @param root the folder that holds /proc and /sys
 */
export function memoryLimit(root = '/', machineBytes = os.totalmem()): MemoryLimit {
  let limit: MemoryLimit = { bytes: machineBytes, source: 'machine' };
  for (const { version, folders } of memoryGroups(root)) {
    const files = folders.flatMap((folder) =>
      LIMIT_FILES[version].map((name) => path.join(folder, name)),
    );
    for (const file of files) {
      const bytes = Number.parseInt(readText(path.join(root, file)) ?? '', 10); // NaN for "max"
      if (bytes < limit.bytes) limit = { bytes, source: file };
    }
  }
  return limit;
}

/** Returns this process's memory cgroups. Empty if the system has none. */
export function memoryGroups(root = '/'): MemoryGroup[] {
  const ownGroups = readText(path.join(root, 'proc/self/cgroup')) ?? '';
  const mounts = readText(path.join(root, 'proc/self/mountinfo')) ?? '';
  const paths = {
    1: /^\d+:(?:[^:\n]*,)?memory(?:,[^:\n]*)?:(\/.*)$/m.exec(ownGroups)?.[1],
    2: /^0::(\/.*)$/m.exec(ownGroups)?.[1],
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
  /** The group at the top of the mount. */
  readonly group: string;
  /** The mount point. */
  readonly folder: string;
}

/** Parses a line of mountinfo (see proc(5)). Undefined if the mount does not account for memory. */
function parseMount(line: string): Mount | undefined {
  const [before = '', after = ''] = line.split(' - ');
  const [, , , group, folder] = before.split(' ');
  const [type, , options = ''] = after.split(' ');
  if (group === undefined || folder === undefined) return undefined;
  if (type === 'cgroup2') return { version: 2, group, folder };
  const hasMemory = type === 'cgroup' && options.split(',').includes('memory');
  return hasMemory ? { version: 1, group, folder } : undefined;
}

/** In a container the mount may start at the container's own group, while the path is still the host's. */
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
