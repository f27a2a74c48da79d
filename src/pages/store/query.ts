// An answer of the API that a page shows and reads again and again.
import { type ReadonlySignal, signal } from '@preact/signals';
import { ApiError, errorText, poll, requestJson } from '../api.js';

/** The newest answer, and whether it is still true. */
export interface Answered<T> {
  /** The newest one; undefined until there is one. */
  readonly data?: T | undefined;
  /** Why it could not be read again. The data are then old. */
  readonly problem?: string;
  /** Whether the server has nothing under this path for this key. It is read again after the user has signed in. */
  readonly isMissing?: boolean;
}

/** A polled answer. */
export interface Query<T> {
  readonly answered: ReadonlySignal<Answered<T>>;
  /** Resolves after the first attempt. */
  readonly first: Promise<void>;
}

/** Reads a path of the API now and after each interval, without asking for a key. */
export function query<T>(path: string, intervalMs: number): Query<T> {
  const answered = signal<Answered<T>>({});
  const read = async () => {
    try {
      answered.value = { data: await requestJson<T>(path, { isQuiet: true }) };
      return undefined;
    } catch (error) {
      const isMissing = error instanceof ApiError && [401, 404].includes(error.status);
      const { data } = answered.value;
      answered.value = { data, problem: errorText(error), isMissing };
      return isMissing ? 'done' : undefined;
    }
  };
  const first = new Promise<void>((resolve) => {
    const start = () => poll(intervalMs, () => read().finally(resolve));
    let stop = start();
    addEventListener('signin', () => {
      stop();
      stop = start();
    });
  });
  return { answered, first };
}
