// Ids and names: of jobs, files, events and checkpoints, of a job's adapter and its aliases, and the `ft:` names of models.
import { randomBytes } from 'node:crypto';
import { NAME_PATTERN, RESERVED_NAMES } from '../../adapters/repository/manifest.ts';
import { ServeError } from '../common/errors.ts';
import type { JobRecord } from './job.ts';

/** Creates an id: the prefix, `-`, and 24 hex digits, which are milliseconds and random bytes. */
export type CreateId = (prefix: string) => string;

/**
 * Creates ids that sort by time, so that a store lists them in order. They cannot be guessed, but access depends on the owner
 * and not on the id.
 * @param now Unix milliseconds
 */
export function createIds(now: () => number): CreateId {
  let last = 0;
  return (prefix) => {
    last = Math.max(now(), last + 1); // keeps ids of one millisecond in order
    return `${prefix}-${last.toString(16).padStart(12, '0')}${randomBytes(6).toString('hex')}`;
  };
}

/** Whether an id could have been created before this time. @param nowMs Unix milliseconds */
export function isIdBefore(nowMs: number, id: string): boolean {
  const [, ms] = /^[a-z]+-([0-9a-f]{12})[0-9a-f]{12}$/.exec(id) ?? [];
  return ms !== undefined && Number.parseInt(ms, 16) <= nowMs;
}

const PREFIX = 'ftjob-';
/** Matches job ids that are safe to use in a key. */
export const JOB_ID = /^ftjob-[A-Za-z0-9]{1,64}$/;
/** How a suffix becomes the name of an adapter: in lower case, with each pattern replaced. The form of a new job shows it. */
export const NAME_RULES = {
  suffix: /^(?!.*\.\.)[^/\\:\p{C}]{1,64}$/u,
  steps: [
    [/[^a-z0-9._-]+/g, '-'],
    [/^[^a-z0-9_]+/, ''],
    [/^(.{63}).+$/, '$1'],
    [/-+$/, ''],
  ],
  name: NAME_PATTERN,
  reserved: [...RESERVED_NAMES],
} as const;
const SEQ_DIGITS = 9;

/** Returns the job's alias, which is also the last part of its model's name. */
export function shortId(jobId: string): string {
  return jobId.slice(PREFIX.length);
}

/** Returns the id of an event. */
export function eventId(job: Pick<JobRecord, 'id'>, seq: number): string {
  return `ftevent-${shortId(job.id)}-${String(seq).padStart(SEQ_DIGITS, '0')}`;
}

/** Returns the number of an event, or undefined if the text is not an event id of this job. */
export function parseEventId(
  job: Pick<JobRecord, 'id' | 'eventCount'>,
  id: string,
): number | undefined {
  const seq = Number(id.slice(-SEQ_DIGITS));
  return eventId(job, seq) === id && seq < job.eventCount ? seq : undefined;
}

/** Returns the id of a checkpoint. */
export function checkpointId(job: Pick<JobRecord, 'id'>, step: number): string {
  return `ftckpt_${shortId(job.id)}${String(step).padStart(SEQ_DIGITS, '0')}`;
}

/** Returns the adapter's name. Throws `ServeError` (400) if the suffix cannot become a name. */
export function toAdapterName(suffix: string | undefined, jobId: string): string {
  if (suffix === undefined) return shortId(jobId);
  const { steps } = NAME_RULES;
  const name = steps.reduce((text, [from, to]) => text.replace(from, to), suffix.toLowerCase());
  const isName = NAME_RULES.suffix.test(suffix) && NAME_PATTERN.test(name);
  if (isName && !RESERVED_NAMES.has(name)) return name;
  const message =
    'suffix must have 1 to 64 characters with at least one letter or digit. It must not contain / \\ : or .. and must not be a reserved name.';
  throw new ServeError('invalid_request', message, { param: 'suffix' });
}

/** Returns the alias of a published checkpoint. */
export function checkpointAlias(jobId: string, step: number): string {
  return `${shortId(jobId)}.ckpt-step-${step}`;
}

type NamedJob = Pick<JobRecord, 'id' | 'tenant' | 'name' | 'base' | 'request'>;

/** Returns the name under which clients call the job's model. */
export function fineTunedModel({ id, tenant, name, base, request }: NamedJob): string {
  const suffix = request.suffix === undefined ? '' : name;
  return `ft:${request.baseAlias ?? base.name}:${tenant}:${suffix}:${shortId(id)}`;
}

/** Returns the name under which clients call a checkpoint of the job. */
export function checkpointModel(job: NamedJob, step: number): string {
  return `${fineTunedModel(job)}:ckpt-step-${step}`;
}
