// `metadata[key]=value` in a query, as OpenAI's clients write it: which pairs a job must carry.
import { ServeError } from '../common/errors.ts';
import type { MetadataFilter } from '../jobs/job-service.ts';

const PAIR = /^metadata\[(.{1,64})\]$/su;
/** A job has no more. */
const MAX_PAIRS = 16;

/** Undefined: any; null (`metadata=null`): those that carry none. */
export function readMetadataFilter(query: Readonly<Record<string, string>>): MetadataFilter {
  if (query['metadata'] === 'null' || query['metadata'] === '') return null;
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    const key = PAIR.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  if (pairs.length > MAX_PAIRS || 'metadata' in query) {
    const message = `metadata: must be null or at most ${MAX_PAIRS} pairs, as metadata[key]=value`;
    throw new ServeError('invalid_request', message, { param: 'metadata' });
  }
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}
