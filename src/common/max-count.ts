// The bound of numbers in requests that count something and have no smaller limit.

/**
 * The largest 32-bit integer. Some clients send it for "no limit", and no context, answer, vocabulary or history is as long.
 */
export const MAX_COUNT = 2 ** 31 - 1;
