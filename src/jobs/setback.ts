// What becomes of a job whose work was cut off (its trainer was killed, its machine had too little memory or disk):
// pure. A few times it is tried again, from its last checkpoint.
import type { Fault } from '../training.ts';
import { advance, hasEnded, type JobState, told, withEvents, withFault } from './job.ts';

/** In a row, without a new step between them. */
const MAX_SETBACKS = 3;

/** Undefined where it has ended meanwhile. */
export function withSetback(job: JobState, fault: Fault, nowMs: number): JobState | undefined {
  if (hasEnded(job)) return undefined;
  const { status, progress } = job;
  const setbacks = job.setbacks + 1;
  if (setbacks > MAX_SETBACKS) return withFault(job, fault, nowMs);
  const when = status === 'validating_files' ? 'while its files were read' : stepText(progress);
  const text = `The job was cut off ${when} (${fault.message}); try ${setbacks} of ${MAX_SETBACKS} follows`;
  const event = told(text, { level: 'warn', data: { code: fault.code } });
  const next = { ...job, setbacks };
  return advance(next, 'putBack', { nowMs, events: [event] }) ?? withEvents(next, [event], nowMs);
}

function stepText(progress: JobState['progress']): string {
  return progress ? `after step ${progress.step}` : 'before its first step';
}
