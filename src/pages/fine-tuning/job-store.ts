// The state of a job's page, read again while the job runs.
import { computed, signal } from '@preact/signals';
import type { FineTuningJob, FineTuningJobCheckpoint } from '../../contracts/fine-tuning-api.ts';
import { errorText, requestJson } from '../api.ts';
import { confirm } from '../components/confirm.ts';
import { query } from '../store/query.ts';
import { type Events, readEvents, stepsOf } from './events.ts';
import { isFinished, learnsRewards } from './facts.ts';
import { createSampleStore } from './sample-store.ts';

const POLL_MS = 1_500;

const CANCEL = {
  title: 'Cancel this job?',
  text: 'It cannot be resumed, but its checkpoints are kept.',
  action: 'Cancel job',
  no: 'Keep it running',
};

interface JobParts {
  readonly job: FineTuningJob;
  readonly events: Events;
  /** Newest first. */
  readonly checkpoints: readonly FineTuningJobCheckpoint[];
  /** The names of the job's files by id. */
  readonly fileNames: Readonly<Record<string, string>>;
}

/** Everything that the page of one job shows. */
export type JobStore = ReturnType<typeof createJobStore>;

/** Makes the state of a job's page. */
export function createJobStore(id: string) {
  const path = `v1/fine_tuning/jobs/${id}`;
  const samples = createSampleStore(path);
  const {
    data: parts,
    problem,
    set,
    follow,
  } = query(readParts, { isFinal: ({ job }) => isFinished(job) });
  /** Why the user's last action failed; empty: it has not. */
  const refusal = signal('');

  /** All parts are shown together, so that nothing moves. */
  async function readParts(last: JobParts | undefined): Promise<JobParts> {
    const job = await requestJson<FineTuningJob>(path);
    const events = await readEvents(id, last?.events ?? []);
    if (last && events === last.events) return { ...last, job };
    if (learnsRewards(job)) await samples.update(); // a step's samples come before its event
    const { data: checkpoints } = await requestJson<{ data: FineTuningJobCheckpoint[] }>(
      `${path}/checkpoints?limit=10`,
    );
    const fileNames = last?.fileNames ?? (await readFileNames(job));
    return { job, events, checkpoints, fileNames };
  }

  return {
    ...{ id, parts, problem, refusal, samples },
    follow: () => follow(POLL_MS),
    /** The metrics of each step, the first one first. */
    steps: computed(() => stepsOf(parts.value?.events ?? [])),
    async act(action: 'pause' | 'resume' | 'cancel') {
      if (action === 'cancel' && !(await confirm(CANCEL))) return;
      try {
        const job = await requestJson<FineTuningJob>(`${path}/${action}`, { method: 'POST' });
        set({ ...parts.value!, job });
        refusal.value = '';
      } catch (error) {
        refusal.value = errorText(error);
      }
    },
  };
}

/** A deleted file keeps its id as its name. */
async function readFileNames(job: FineTuningJob): Promise<JobParts['fileNames']> {
  const ids = [job.training_file, job.validation_file].filter((id) => id !== null);
  const names = ids.map(async (id) => {
    const file = requestJson<{ filename: string }>(`v1/files/${id}`);
    return [id, (await file.catch(() => ({ filename: id }))).filename] as const;
  });
  return Object.fromEntries(await Promise.all(names));
}
