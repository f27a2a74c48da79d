// The statuses of fine-tuning jobs: OpenAI's, and `paused`, for which OpenAI's API has a route but no status.

export const JOB_STATUSES = [
  'validating_files',
  'queued',
  'running',
  'paused',
  'succeeded',
  'failed',
  'cancelled',
] as const;
/** The status of a fine-tuning job. */
export type JobStatus = (typeof JOB_STATUSES)[number];
