// A fetch that failed and may work later, as opposed to a `FileError`: the network, the hub, pip.

/** Its message says what to do about it; `code` marks it as no fault of this program. */
export class FetchError extends Error {
  override name = 'FetchError';
  readonly code = 'fetch_failed';
}
