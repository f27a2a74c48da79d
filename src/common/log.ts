// The program's log: JSON lines on standard error. Standard output belongs to the user.
import { type DestinationStream, type Logger, pino } from 'pino';
import { standardError } from './standard-error.ts';

export type { Logger };

/** Creates a logger. `fields` is called for every line and returns fields to add, such as a request id. */
export function createLog(
  level: string,
  destination: DestinationStream = standardError,
  fields?: () => object,
): Logger {
  const options = { level, base: null, ...(fields && { mixin: fields }) };
  return pino(options, destination);
}
