// What becomes of a job whose trainer is gone without a word: pure. It may have been killed, or its machine had too
// little memory at that moment: a few times it is tried again.
import type { Fault } from '../training.ts';
import { type JobState, type NewEvent, told } from './job.ts';

/** Trainers in a row that may be gone without a word. */
const MAX_LOSSES = 3;

export interface AfterLoss {
  readonly isOver: boolean;
  readonly event: NewEvent;
  readonly losses: number;
}

export function countLoss({ losses: before, progress, status }: JobState, fault: Fault): AfterLoss {
  const losses = before + 1;
  if (losses > MAX_LOSSES) {
    const event = told(fault.message, { level: 'error', data: { code: fault.code } });
    return { isOver: true, event, losses };
  }
  const when =
    status === 'running' ? `after step ${progress?.step ?? 0}` : 'while it read the files';
  const text = `The trainer ended unexpectedly ${when} (${fault.message}); try ${losses} of ${MAX_LOSSES}`;
  const event = told(text, { level: 'warn', data: { code: fault.code } });
  return { isOver: false, event, losses };
}
