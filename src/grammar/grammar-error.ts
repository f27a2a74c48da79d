// The faults of a constraint, with their places in it.
import { toPrintable } from '../common/errors.ts';

/**
 * A schema, grammar or regular expression that cannot be used. `path` is the position of the fault, such as `#/properties/a`.
 */
export class GrammarError extends Error {
  override name = 'GrammarError';
  readonly path: string;

  constructor(message: string, path = '') {
    super(toPrintable(message));
    this.path = path;
  }
}

/** A schema that allows no value. */
export class ContradictionError extends GrammarError {}

/** Adds the path to errors that have none. */
export function located<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof GrammarError) || error.path !== '') throw error;
    throw error instanceof ContradictionError
      ? new ContradictionError(error.message, path)
      : new GrammarError(error.message, path);
  }
}
