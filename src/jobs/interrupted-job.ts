// Decides what happens to a job whose work was interrupted because its trainer was killed, or its machine ran out of memory or
// disk. The job is retried from its last checkpoint a few times. Pure.
import { DISK_FULL_FAULT, type Fault } from '../contracts/training-messages.ts';
import {
  advance,
  hasEnded,
  type JobEvent,
  type JobRecord,
  messageEvent,
  type NewEvent,
  withEvents,
  withFault,
} from './job.ts';

/** The most consecutive interruptions without a new step between them. */
const MAX_INTERRUPTIONS = 3;

/** Returns the job after an interruption: queued again, or failed. Returns undefined if it has already ended. */
export function withInterruption(
  job: JobRecord,
  fault: Fault,
  nowMs: number,
): JobRecord | undefined {
  if (hasEnded(job)) return undefined;
  if (fault.code === DISK_FULL_FAULT.code) return withDiskWait(job, nowMs);
  const { status, progress } = job;
  const retries = job.retries + 1;
  if (retries > MAX_INTERRUPTIONS) return withFault(job, fault, nowMs);
  const when = status === 'validating_files' ? 'while its files were read' : stepText(progress);
  const text = `The job was interrupted ${when}: ${fault.message} Retry ${retries} of ${MAX_INTERRUPTIONS} follows.`;
  const event = messageEvent(text, { level: 'warn', data: { code: fault.code } });
  return requeued({ ...job, retries }, [event], nowMs);
}

/** A disk may stay full for long, and nobody is to blame: the job waits, and the interruption does not count. */
function withDiskWait(job: JobRecord, nowMs: number): JobRecord {
  if (isWaitingForDisk(job)) return requeued(job, [], nowMs);
  const text = 'The disk is full. The job waits and continues when there is room.';
  const event = messageEvent(text, { level: 'warn', data: { code: DISK_FULL_FAULT.code } });
  return requeued(job, [event], nowMs);
}

/** A job that is still validating its files keeps its status. */
function requeued(job: JobRecord, events: readonly NewEvent[], nowMs: number): JobRecord {
  return advance(job, 'requeue', { nowMs, events }) ?? withEvents(job, events, nowMs);
}

/** Whether the job has made no step since the disk was full. */
export function isWaitingForDisk({ recentEvents }: Pick<JobRecord, 'recentEvents'>): boolean {
  const isFull = ({ data }: JobEvent) => data?.['code'] === DISK_FULL_FAULT.code;
  const last = recentEvents.findLast((event) => event.type === 'metrics' || isFull(event));
  return last !== undefined && isFull(last);
}

function stepText(progress: JobRecord['progress']): string {
  return progress ? `after step ${progress.step}` : 'before its first step';
}
