// What becomes of a job whose work was cut off (its trainer was killed, its machine had too little memory or disk):
// pure. A few times it is tried again, from its last checkpoint.
import { DISK_FULL_FAULT, type Fault } from '../contracts/training.ts';
import {
  advance,
  hasEnded,
  type JobEvent,
  type JobState,
  told,
  withEvents,
  withFault,
} from './job.ts';

/** In a row, without a new step between them. */
const MAX_SETBACKS = 3;

/** Undefined where it has ended meanwhile. */
export function withSetback(job: JobState, fault: Fault, nowMs: number): JobState | undefined {
  if (hasEnded(job)) return undefined;
  if (fault.code === DISK_FULL_FAULT.code) return withWait(job, nowMs);
  const { status, progress } = job;
  const setbacks = job.setbacks + 1;
  if (setbacks > MAX_SETBACKS) return withFault(job, fault, nowMs);
  const when = status === 'validating_files' ? 'while its files were read' : stepText(progress);
  const text = `The job was cut off ${when} (${fault.message}); try ${setbacks} of ${MAX_SETBACKS} follows`;
  const event = told(text, { level: 'warn', data: { code: fault.code } });
  const next = { ...job, setbacks };
  return advance(next, 'putBack', { nowMs, events: [event] }) ?? withEvents(next, [event], nowMs);
}

/** A full disk is nobody's fault and may stay full for long: the job waits for room, and this is not counted. */
function withWait(job: JobState, nowMs: number): JobState | undefined {
  if (isWaitingForDisk(job)) return advance(job, 'putBack', { nowMs, events: [] }) ?? job;
  const text = 'The disk is full: the job waits and goes on when there is room';
  const event = told(text, { level: 'warn', data: { code: DISK_FULL_FAULT.code } });
  return advance(job, 'putBack', { nowMs, events: [event] }) ?? withEvents(job, [event], nowMs);
}

/** Whether the job has made no step since its disk was full. */
export function isWaitingForDisk({ recentEvents }: Pick<JobState, 'recentEvents'>): boolean {
  const isFull = ({ data }: JobEvent) => data?.['code'] === DISK_FULL_FAULT.code;
  const last = recentEvents.findLast((event) => event.type === 'metrics' || isFull(event));
  return last !== undefined && isFull(last);
}

function stepText(progress: JobState['progress']): string {
  return progress ? `after step ${progress.step}` : 'before its first step';
}
