// How long the loser of a race waits before it tries again.
import { setTimeout } from 'node:timers/promises';

/** `attempt` counts from 1. Rejects with the signal's reason. */
export type Pause = (attempt: number, signal?: AbortSignal) => Promise<void>;

const FIRST_MS = 10;
const LONGEST_MS = 640;

/** Full jitter: anywhere from 0 to a bound that doubles, so that those who met once do not meet again. */
export async function jitteredPause(attempt: number, signal?: AbortSignal): Promise<void> {
  const boundMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** (attempt - 1));
  try {
    await setTimeout(Math.random() * boundMs, undefined, signal ? { signal } : {});
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
