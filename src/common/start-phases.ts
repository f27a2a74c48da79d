// Measures the phases of this process's start on Node's performance timeline. Callers name the phases.
import { performance } from 'node:perf_hooks';

const MARK = 'lorikeet start ';

/** The duration of each phase in milliseconds, in order. `node` is Node's own start. */
export type StartPhases = Readonly<Record<string, number>>;

/** Ends the phase that began when the previous one ended. */
export function endStartPhase(name: string): void {
  performance.mark(MARK + name);
}

/** Returns the phases that have ended so far. */
export function startPhases(): StartPhases {
  let lastMs = performance.nodeTiming.bootstrapComplete;
  const phases: Record<string, number> = { node: lastMs };
  for (const { name, startTime } of performance.getEntriesByType('mark')) {
    if (!name.startsWith(MARK)) continue;
    phases[name.slice(MARK.length)] = startTime - lastMs;
    lastMs = startTime;
  }
  return phases;
}
