// The program's log: JSON lines on standard error, so that standard output stays the user's.
import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger };

export function createLog(level: string, destination?: DestinationStream): Logger {
  return pino({ level, base: null }, destination ?? pino.destination({ dest: 2, sync: true }));
}
