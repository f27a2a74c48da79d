// How often the kernel has killed a process because memory ran out: of this container where it says so, else of the
// machine. A killed child tells nothing itself.
import { readFileSync } from 'node:fs';

/** Undefined where the system does not say (not Linux). */
export function countOomKills(): number | undefined {
  for (const file of [cgroupFile(), '/proc/vmstat']) {
    const text = file === undefined ? undefined : read(file);
    const found = /^oom_kill (\d+)$/m.exec(text ?? '');
    if (found) return Number(found[1]);
  }
  return undefined;
}

/** Of the second version of control groups, of which a process has one. */
function cgroupFile(): string | undefined {
  const group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1];
  return group === undefined ? undefined : `/sys/fs/cgroup${group}/memory.events`;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
