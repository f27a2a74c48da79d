// Where a fine-tuning job stands: OpenAI's statuses, and `paused`, for which its API has a route and no status.

export const JOB_STATUSES = [
  'validating_files',
  'queued',
  'running',
  'paused',
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];
