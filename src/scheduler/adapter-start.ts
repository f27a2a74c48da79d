// An adapter with invocation tokens applies from the invocation in the prompt on; the tokens before it run as the base. Pure
// functions.
import type { Sequence } from './sequence.ts';

/** The part of a prompt for which an adapter is used, and the keys of its blocks. Empty: the whole prompt. */
export type AdapterStart = Partial<Pick<Sequence, 'adapterFrom' | 'prefix'>>;

/**
 * Returns the position of the invocation's last occurrence in a prompt, from which the adapter applies. If there is none,
 * returns Infinity: the adapter is not used at all, as in peft.
 */
export function adapterStart(promptIds: readonly number[], invocation: readonly number[]): number {
  for (let start = promptIds.length - invocation.length; start >= 0; start--)
    if (invocation.every((id, i) => promptIds[start + i] === id)) return start;
  return Number.POSITIVE_INFINITY;
}
