// What pages say of a fine-tuning job in a line. Pure.
import { durationRange, percent } from './format.js';

/** @typedef {import('../contracts/openai.ts').FineTuningJob} Job */

/** @type {Readonly<Record<Job['status'], string>>} */
const WORDS = {
  validating_files: 'validating',
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
  const share = percent(progress.step / Math.max(1, progress.totalSteps));
  const range = remainingRange(job, nowS);
  return range ? `${share}, ${durationRange(...range)} left` : share;
}

/** By which the speed of the steps so far misses that of the rest, on a machine that others use, too. */
const SPEED_SPREAD = 0.15;

/** Seconds from and to. @param {Job} job @param {number} nowS @returns {[number, number] | undefined} */
function remainingRange({ estimated_finish: finishS }, nowS) {
  const left = (finishS ?? 0) - nowS;
  return left > 0 ? [left * (1 - SPEED_SPREAD), left * (1 + SPEED_SPREAD)] : undefined;
}

/** What the plan said, in seconds from and to. @param {Job} job @returns {[number, number] | undefined} */
export function plannedRange({ lorikeet }) {
  const range = lorikeet['planned_seconds_range'];
  return Array.isArray(range) ? [Number(range[0]), Number(range[1])] : undefined;
}

/** From the start of the training to its end, or until now; undefined before. @param {Job} job @param {number} nowS */
export function runSeconds({ lorikeet, finished_at: finishedS }, nowS) {
  const startedS = lorikeet['started_at'];
  return typeof startedS === 'number' ? Math.max(0, (finishedS ?? nowS) - startedS) : undefined;
}
