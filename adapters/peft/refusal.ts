// Refusals of adapters: one error code, with the field, tensor or file at fault as `param`.
import { FileError, ServeError, toPrintable } from '../../src/common/errors.ts';

/** Enough to recognize a value in a log line. */
const MAX_SHOWN = 80;

/** Returns the refusal (422) of an adapter. `field` is a key of its configuration, a tensor or a file name. */
export function invalidAdapter(field: string, message: string, cause?: unknown): ServeError {
  const text = toPrintable(`adapter refused: ${field}: ${message}`);
  return new ServeError('adapter_invalid', text, { param: field, cause });
}

/** Converts a `FileError` to a refusal. Other errors are returned unchanged. */
export function toInvalidAdapter(error: unknown): unknown {
  if (!(error instanceof FileError)) return error;
  const message = `adapter refused: ${error.message}`;
  return new ServeError('adapter_invalid', message, { param: error.field, cause: error });
}

/** Settles as the promise does, but with a refusal instead of a `FileError`. */
export function orRefusal<T>(reading: Promise<T>): Promise<T> {
  return reading.catch((error) => {
    throw toInvalidAdapter(error);
  });
}

/**
 * Throws `ServeError` (422) if the ranks of an adapter, or of a composition's terms, add up to more than `maxRank`. A
 * composition costs as much as one adapter with the sum of the ranks.
 */
export function checkTotalRank(ranks: readonly number[], maxRank: number): void {
  const sum = ranks.reduce((total, rank) => total + rank, 0);
  if (sum <= maxRank) return;
  const what = ranks.length === 1 ? `rank ${sum}` : `ranks ${ranks.join(' + ')} = ${sum}`;
  const message = `adapter refused: ${what}; the limit is ${maxRank} (--max-adapter-rank)`;
  throw new ServeError('adapter_invalid', message, { param: 'model' });
}

/** Formats a value from a file for a message. */
export function quoteValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}

/** Trained weights stay below 10. A weight above this limit may make the results overflow. */
export const MAX_WEIGHT = 1e3;

/** Returns the refusal of a weight that is NaN or too large. */
export function nonFinite(key: string, value: number): ServeError {
  const message = `adapter refused: ${key}: has a weight of ${value}; the limit is ${MAX_WEIGHT}, including the scaling`;
  return new ServeError('adapter_non_finite', message, { param: key });
}
