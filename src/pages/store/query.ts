// Data of the API that a view shows and reads again.
import { computed, signal } from '@preact/signals';
import { ApiError, errorText, poll } from '../api.ts';

/** Data that are read again and again. */
export type Query<T> = ReturnType<typeof query<T>>;

interface QueryOptions<T> {
  /** The data from before the first read. */
  readonly known?: T | undefined;
  /** Whether the data stay as they are from now on. */
  readonly isFinal?: (data: T) => boolean;
}

/** Makes the state of such data. Nothing is read yet. `read` gets the last ones. */
export function query<T>(
  read: (last: T | undefined) => Promise<T>,
  { known, isFinal = () => false }: QueryOptions<T> = {},
) {
  /** Undefined until they were read, and if the server has none. */
  const data = signal<T | undefined>(known);
  /** Why the last read failed; empty if it did not. The data are then old. */
  const problem = signal('');
  /** Whether the server has nothing there for this key. */
  const isMissing = signal(false);
  /** Counts reads and changes. The answer of a read is old if another one, or a change, has begun since. */
  let newest = 0;

  /** A task for `poll`: resolves with `done` if reading again is useless, or with the least ms to wait. */
  async function refresh(): Promise<'done' | number | undefined> {
    const number = ++newest;
    const outcome = await read(data.value).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    if (number !== newest) return undefined;
    if ('value' in outcome) {
      data.value = outcome.value;
      problem.value = '';
      isMissing.value = false;
      return isFinal(outcome.value) ? 'done' : undefined;
    }
    const { error } = outcome;
    problem.value = errorText(error);
    if (!(error instanceof ApiError)) return undefined;
    isMissing.value = error.status === 404;
    if (isMissing.value) data.value = undefined;
    return [401, 404].includes(error.status) ? 'done' : error.retryAfterS * 1000;
  }

  return {
    data,
    problem,
    isMissing,
    /** Whether there is something to show. */
    isRead: computed(() => data.value !== undefined || problem.value !== ''),
    refresh,
    /** Shows other data, such as the answer to a change. */
    set(value: T) {
      newest++;
      data.value = value;
    },
    /** Polls, again from the start once the user has signed in. Returns a function that stops it. */
    follow(intervalMs: number) {
      let stop = poll(intervalMs, refresh);
      const restart = () => {
        stop();
        stop = poll(intervalMs, refresh);
      };
      addEventListener('signin', restart);
      return () => {
        stop();
        removeEventListener('signin', restart);
      };
    },
  };
}
