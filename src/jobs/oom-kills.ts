// How often the kernel has killed a process because memory ran out: of this container where it says so, else of the
// machine. A killed child tells nothing itself.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { memoryGroups } from '../common/memory-limit.ts';

/** Where each version of control groups counts. */
const COUNT_FILES = { 1: 'memory.oom_control', 2: 'memory.events' } as const;

/** Undefined if the system does not say (not Linux). */
export function countOomKills(): number | undefined {
  const own = memoryGroups().map(({ version, folders }) =>
    path.join(folders[0]!, COUNT_FILES[version]),
  );
  for (const file of [...own, '/proc/vmstat']) {
    const found = /^oom_kill (\d+)$/m.exec(read(file) ?? '');
    if (found) return Number(found[1]);
  }
  return undefined;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
