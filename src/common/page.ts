// Pages of lists, in the style of OpenAI's API: a page begins after the last item of the previous one.
import { fieldError, type ServeError } from './errors.ts';

/** A part of a longer list. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly hasMore: boolean;
}

/** Selects a page. */
export interface PageQuery {
  /** The id of the last item of the previous page. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** Cuts a page out of a whole list. Throws `ServeError` (400) if no item has the id `after`. */
export function pageOf<T>(
  all: readonly T[],
  { after, limit }: PageQuery,
  idOf: (item: T) => string,
): Page<T> {
  const start = after === undefined ? 0 : all.findIndex((item) => idOf(item) === after) + 1;
  if (after !== undefined && start === 0) throw unknownAfter();
  return { items: all.slice(start, start + limit), hasMore: all.length > start + limit };
}

/** Returns the error for a page after an item that is not in the list (400). */
export function unknownAfter(): ServeError {
  return fieldError('after', 'is not the id of an item of this list.');
}
