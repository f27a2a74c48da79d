// Reads how much CPU time a process has used, and how long it waited for a core.
import { readdirSync, readFileSync } from 'node:fs';

/** Sums over the threads of a process since their start, in milliseconds. */
export interface CpuTime {
  readonly runMs: number;
  /** How long they could have run but waited for a core. */
  readonly waitMs: number;
}

/** Reads the times of a process. Returns undefined if it has ended, or if the system does not report them (not Linux). */
export function readCpuTime(pid: number): CpuTime | undefined {
  let [runNs, waitNs] = [0, 0];
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [run, wait] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      runNs += Number(run);
      waitNs += Number(wait);
    }
  } catch {
    return undefined;
  }
  return { runMs: runNs / 1e6, waitMs: waitNs / 1e6 };
}
