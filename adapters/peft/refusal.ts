// How an adapter is refused: one code, and the field, tensor or file at fault as `param`.
import { ServeError } from '../../src/common/errors.ts';

/** Long enough to recognize a value, short enough for a log line. */
const MAX_SHOWN = 80;

/** 422: the adapter is bad for ever. `field` is a key of its configuration, a tensor or a file name. */
export function invalidAdapter(field: string, message: string, cause?: unknown): ServeError {
  return new ServeError('adapter_invalid', `adapter refused: ${field}: ${message}`, {
    param: field,
    cause,
  });
}

/**
 * Throws `ServeError` (422) if the ranks of an adapter's terms, one or several, add up to more than is allowed.
 * A composition multiplies as much as one adapter of all its ranks.
 */
export function refuseRank(ranks: readonly number[], maxRank: number): void {
  const sum = ranks.reduce((total, rank) => total + rank, 0);
  if (sum <= maxRank) return;
  const what = ranks.length === 1 ? `rank ${sum}` : `ranks ${ranks.join(' + ')} = ${sum}`;
  const message = `adapter refused: ${what}, the limit is ${maxRank} (--max-adapter-rank)`;
  throw new ServeError('adapter_invalid', message, { param: 'model' });
}

/** A value from a file, fit for a message. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
