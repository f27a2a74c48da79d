// What this process did until it was ready, phase by phase, on Node's own performance timeline. Knows no phase's name.
const MARK = 'lorikeet start ';

/** Milliseconds of each phase, in order: `node` is Node's own, before any program. */
export type StartPhases = Readonly<Record<string, number>>;

/** What was begun when the last phase ended (or Node was up) is done. */
export function endStartPhase(name: string): void {
  performance.mark(MARK + name);
}

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
