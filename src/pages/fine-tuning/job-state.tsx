// The state of a job, as lists show it.
import type { FineTuningJob } from '../../contracts/fine-tuning-api.ts';
import { progressText, statusWord } from './facts.ts';

/** The state, and how far the job is. */
export function JobState({ job }: { readonly job: FineTuningJob }) {
  const progress = progressText(job, Date.now() / 1000);
  return (
    <span>
      <span class={`pill ${job.status}`}>{statusWord(job)}</span>
      {progress && <small class="help"> {progress}</small>}
    </span>
  );
}
