// What outcomes add up to. Pure.
import { quantile } from '../bench/quantile.ts';
import type { Ending, Outcome } from './traffic.ts';

/** The share of a run that is left out at either end. */
const EDGE = 0.15;

/** Unix milliseconds. */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The middle of the time in which requests began: queues fill up before it and run empty after it. */
export function innerWindow(outcomes: readonly Outcome[], seconds: number): Window {
  const startMs = outcomes.reduce((first, { dueMs }) => Math.min(first, dueMs), Infinity);
  const edgeMs = EDGE * seconds * 1000;
  return { fromMs: startMs + edgeMs, toMs: startMs + seconds * 1000 - edgeMs };
}

/**
 * Tokens per second of complete answers to good requests, each spread evenly from the first token to the last, so that
 * answers at an edge of the window count by their share in it.
 */
export function goodput(outcomes: readonly Outcome[], { fromMs, toMs }: Window): number {
  const tokens = outcomes
    .filter(({ kind, ending }) => kind === 'good' && ending === 'done')
    .reduce((sum, { firstMs = 0, endMs, tokens: count }) => {
      const within = Math.min(endMs, toMs) - Math.max(firstMs, fromMs);
      return sum + count * Math.min(1, Math.max(0, within) / Math.max(1, endMs - firstMs));
    }, 0);
  return (tokens * 1000) / (toMs - fromMs);
}

export function countBy(
  outcomes: readonly Outcome[],
  keyOf: (outcome: Outcome) => string | undefined,
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) {
    const key = keyOf(outcome);
    if (key !== undefined) counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

export const ended = (outcomes: readonly Outcome[], ...endings: readonly Ending[]): Outcome[] =>
  outcomes.filter(({ ending }) => endings.includes(ending));

/** From the moment that the plan wanted, which includes the generator's own delay. */
export const firstTokensMs = (outcomes: readonly Outcome[]): number[] =>
  outcomes.flatMap(({ ending, firstMs, dueMs }) =>
    ending === 'done' && firstMs !== undefined ? [firstMs - dueMs] : [],
  );

/** How long the server took to refuse. */
export const refusalsMs = (outcomes: readonly Outcome[]): number[] =>
  ended(outcomes, 'refused').map(({ sentMs, endMs }) => endMs - sentMs);

/** How late requests were sent: the generator's own delay. */
export const latenessMs = (outcomes: readonly Outcome[]): number[] =>
  outcomes.map(({ dueMs, sentMs }) => sentMs - dueMs);

/** A quantile, or NaN if nothing was measured. */
export const quantileOf = (values: readonly number[], share: number): number =>
  values.length === 0 ? Number.NaN : quantile(values, share);

/** Jain's index of fairness: 1 if all have as much, 1/n if one has all. */
export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((total, one) => total + one, 0);
  return sum ** 2 / (shares.length * shares.reduce((total, one) => total + one ** 2, 0));
}

/** Endings that no accepted request may have, whatever the load. */
export function broken(outcomes: readonly Outcome[]): Outcome[] {
  return ended(outcomes, 'failed', 'cut', 'reset', 'unreachable', 'hung');
}

/** Refusals that do not say when to try again. */
export function silentRefusals(outcomes: readonly Outcome[]): Outcome[] {
  return ended(outcomes, 'refused').filter(
    ({ status, retryAfterS }) => (status === 429 || status === 503) && !(Number(retryAfterS) >= 1),
  );
}

/** Server errors other than those that say "later". */
export function serverErrors(outcomes: readonly Outcome[]): Outcome[] {
  return outcomes.filter(({ status = 0 }) => status >= 500 && status !== 503);
}
