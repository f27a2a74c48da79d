// Decides what happens to a job whose work was interrupted: its trainer was killed, or its machine ran out of memory or
// disk. A few times the job is retried from its last checkpoint. Pure.
import { DISK_FULL_FAULT, type Fault } from '../contracts/training-messages.ts';
import {
  advance,
  hasEnded,
  type JobEvent,
  type JobState,
  messageEvent,
  type NewEvent,
  withEvents,
  withFault,
} from './job.ts';

/** Interruptions in a row, without a new step between them. */
const MAX_INTERRUPTIONS = 3;

/** Returns the job after an interruption: queued again, or failed. Returns undefined if it has ended meanwhile. */
export function withInterruption(job: JobState, fault: Fault, nowMs: number): JobState | undefined {
  if (hasEnded(job)) return undefined;
  if (fault.code === DISK_FULL_FAULT.code) return withDiskWait(job, nowMs);
  const { status, progress } = job;
  const setbacks = job.setbacks + 1;
  if (setbacks > MAX_INTERRUPTIONS) return withFault(job, fault, nowMs);
  const when = status === 'validating_files' ? 'while its files were read' : stepText(progress);
  const text = `The job was interrupted ${when}: ${fault.message} Retry ${setbacks} of ${MAX_INTERRUPTIONS} follows.`;
  const event = messageEvent(text, { level: 'warn', data: { code: fault.code } });
  return requeued({ ...job, setbacks }, [event], nowMs);
}

/** A full disk may stay full for long, and nobody is to blame: the job waits, and the interruption does not count. */
function withDiskWait(job: JobState, nowMs: number): JobState {
  if (isWaitingForDisk(job)) return requeued(job, [], nowMs);
  const text = 'The disk is full. The job waits and continues when there is room.';
  const event = messageEvent(text, { level: 'warn', data: { code: DISK_FULL_FAULT.code } });
  return requeued(job, [event], nowMs);
}

/** A job whose files are still validated keeps its status. */
function requeued(job: JobState, events: readonly NewEvent[], nowMs: number): JobState {
  return advance(job, 'putBack', { nowMs, events }) ?? withEvents(job, events, nowMs);
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
