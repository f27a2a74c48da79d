// Ids of files and jobs: they sort by the time they were made, so that a store lists them in order. Nobody can guess
// the next one, and nobody needs to: whose they are decides who may use them.
import { randomBytes } from 'node:crypto';

/** `{prefix}-` and 24 hex digits: milliseconds, then chance. */
export type CreateId = (prefix: string) => string;

/** @param now Unix milliseconds */
export function createIds(now: () => number): CreateId {
  let last = 0;
  return (prefix) => {
    last = Math.max(now(), last + 1); // those of one millisecond, too, keep their order
    return `${prefix}-${last.toString(16).padStart(12, '0')}${randomBytes(6).toString('hex')}`;
  };
}
