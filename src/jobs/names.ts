// What is called how: a job's short id, its adapter's name and aliases, and the `ft:` names that lead to them.
import { NAME_PATTERN, RESERVED_NAMES } from '../../adapters/repository/manifest.ts';
import { ServeError } from '../common/errors.ts';
import type { JobRecord } from './job.ts';

const PREFIX = 'ftjob-';
/** Whatever a job's id is made of, so that it is a key of a store. */
export const JOB_ID = /^ftjob-[A-Za-z0-9]{1,64}$/;
const MAX_NAME_LENGTH = 63;
const SUFFIX = /^(?!.*\.\.)[^/\\:\p{C}]{1,64}$/u;

/** The job's alias, and the last part of its model's name. */
export function shortId(jobId: string): string {
  return jobId.slice(PREFIX.length);
}

/** What the adapter is published as. @throws ServeError where no name can be made of the suffix */
export function toAdapterName(suffix: string | undefined, jobId: string): string {
  if (suffix === undefined) return shortId(jobId);
  const name = suffix
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9_]+/, '')
    .slice(0, MAX_NAME_LENGTH);
  if (SUFFIX.test(suffix) && NAME_PATTERN.test(name) && !RESERVED_NAMES.has(name)) return name;
  const message =
    'suffix: must be 1 to 64 characters with a letter or digit among them, without / \\ : and .., and no reserved name';
  throw new ServeError('invalid_request', message, { param: 'suffix' });
}

export function checkpointAlias(jobId: string, step: number): string {
  return `${shortId(jobId)}.ckpt-step-${step}`;
}

type Named = Pick<JobRecord, 'id' | 'tenant' | 'name' | 'base' | 'request'>;

export function fineTunedModel({ id, tenant, name, base, request }: Named): string {
  const suffix = request.suffix === undefined ? '' : name;
  return `ft:${base.name}:${tenant}:${suffix}:${shortId(id)}`;
}

export function checkpointModel(job: Named, step: number): string {
  return `${fineTunedModel(job)}:ckpt-step-${step}`;
}
