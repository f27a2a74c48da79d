// What pages say of a fine-tuning job in a line. Pure.
import { duration, percent } from './format.js';

/** @typedef {import('../openai.ts').FineTuningJob} Job */

/** @type {Readonly<Record<Job['status'], string>>} */
const WORDS = {
  validating_files: 'checking',
  queued: 'queued',
  running: 'running',
  paused: 'paused',
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
};

const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

/** @param {Job} job */
export function statusWord({ status }) {
  return WORDS[status];
}

/** @param {Job} job */
export function hasEnded({ status }) {
  return ENDED.has(status);
}

/** What people know it by. @param {Job} job */
export function jobName({ user_provided_suffix: suffix, id }) {
  return suffix ?? id;
}

/** @param {Job} job @returns {{ step: number, totalSteps: number } | undefined} */
export function progressOf({ lorikeet }) {
  const { step, total_steps: totalSteps } = lorikeet;
  if (typeof step !== 'number' || typeof totalSteps !== 'number') return undefined;
  return { step, totalSteps };
}

/** @param {Job} job @param {number} nowS */
export function progressText(job, nowS) {
  const progress = progressOf(job);
  if (!progress || hasEnded(job)) return '';
  const left = (job.estimated_finish ?? 0) - nowS;
  const share = percent(progress.step / Math.max(1, progress.totalSteps));
  return left > 0 ? `${share}, ${duration(left)} left` : share;
}
