// Polling, for what another process or a timer decides.
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';

/** Resolves with the first result of `find` that is not false or undefined. Fails with `what` after the deadline. */
export async function until<T>(
  what: string,
  find: () => T | false | undefined | Promise<T | false | undefined>,
  { deadlineMs = 120_000, pollMs = 10 }: { deadlineMs?: number; pollMs?: number } = {},
): Promise<T> {
  for (const endMs = performance.now() + deadlineMs; ; await setTimeout(pollMs)) {
    const found = await find();
    if (found !== undefined && found !== false) return found;
    assert.ok(performance.now() < endMs, `waited ${deadlineMs} ms in vain for ${what}`);
  }
}
