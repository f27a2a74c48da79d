// How an adapter is refused: one code, and the field, tensor or file at fault as `param`.
import { ServeError } from '../src/errors.ts';

/** Long enough to recognize a value, short enough for a log line. */
const MAX_SHOWN = 80;

/** 422: the adapter is bad for ever. `field` is a key of its configuration, a tensor or a file name. */
export function invalidAdapter(field: string, message: string, cause?: unknown): ServeError {
  return new ServeError('adapter_invalid', `adapter refused: ${field}: ${message}`, {
    param: field,
    cause,
  });
}

/** A value from a file, fit for a message. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}
