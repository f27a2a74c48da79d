// The program's log: JSON lines on standard error, so that standard output stays the user's.
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

/** `fields` are added to every line: what is known where it is written. */
export function createLog(
  level: string,
  destination?: DestinationStream,
  fields?: () => object,
): Logger {
  const options = { level, base: null, ...(fields && { mixin: fields }) };
  return pino(options, destination ?? pino.destination({ dest: 2, sync: true }));
}
