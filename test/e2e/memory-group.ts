// A control group of Linux with a memory limit, for programs that a test starts.
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { memoryGroups } from '../../src/common/memory-limit.ts';

const LIMIT_FILES = { 1: 'memory.limit_in_bytes', 2: 'memory.max' } as const;

export interface LimitedGroup {
  /** Runs the program that its further arguments name, inside the group. */
  readonly within: readonly string[];
  /** How often the kernel killed a process in it. */
  oomKills(): number;
  /** Resolves once its processes are gone. */
  remove(): Promise<void>;
}

let count = 0;

/** Makes a group; undefined if this machine does not allow it. */
export function createGroup(bytes: number): LimitedGroup | undefined {
  for (const { version, folders } of memoryGroups()) {
    const group = path.join(folders.at(-1)!, `lorikeet-test-${process.pid}-${count++}`);
    try {
      mkdirSync(group);
    } catch {
      continue;
    }
    try {
      const file = path.join(group, LIMIT_FILES[version]);
      readFileSync(file); // is there only if the controller is on
      writeFileSync(file, String(bytes));
    } catch {
      rmdirSync(group);
      continue;
    }
    const kills = path.join(group, version === 1 ? 'memory.oom_control' : 'memory.events');
    return {
      within: ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group],
      oomKills: () => Number(/^oom_kill (\d+)$/m.exec(readFileSync(kills, 'utf8'))?.[1] ?? 0),
      async remove() {
        for (const deadline = Date.now() + 30_000; ; await delay(50)) {
          try {
            rmdirSync(group);
            return;
          } catch (error) {
            if (Date.now() > deadline) throw error;
          }
        }
      },
    };
  }
  return undefined;
}
