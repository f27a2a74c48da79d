// Refuses requests that the engine cannot take, before their bodies are read, and gives the others a queue entry: one of those
// that wait for the engine, from their check until their sequences are submitted.
import type { Context } from 'hono';
import { ServeError } from '../../common/errors.ts';
import type { HttpEnv } from '../wire/middleware.ts';
import { type Route, startRequestTime } from '../wire/route.ts';
import type { GenerationDeps } from './generation-plan.ts';

/** Throws `ServeError` if the engine can't take a request now. */
export function requireReady({ client }: Pick<GenerationDeps, 'client'>): void {
  if (client.state === 'ready') return;
  if (client.state === 'stopped') {
    throw new ServeError('overloaded', 'The server is shutting down. Try again.');
  }
  throw new ServeError('engine_restarting', `The engine is ${client.state}. Try again.`);
}

/** Returns how a route begins whose requests wait for the engine. Their handler takes a queue entry. */
export function waitingRoute(
  deps: Pick<GenerationDeps, 'client' | 'limits'>,
): Required<Pick<Route<never>, 'admit' | 'admitsTokens'>> {
  return {
    admitsTokens: true,
    /** Starts the time of a request. Throws `ServeError` if the engine can't take a request of this tenant now. */
    admit(c) {
      requireReady(deps);
      startRequestTime(c, deps.limits);
      // The body has not been read yet, and may ask for only one token.
      deps.client.requireRoom({ tenant: c.get('tenant'), time: c.get('time'), maxTokens: 0 });
    },
  };
}

/**
 * Adds a checked request to the queue. Throws `ServeError` if the engine can't take it now.
 * @param maxTokens the most tokens of its completion; undefined if it sets no limit
 */
export function enterQueue(
  c: Context<HttpEnv>,
  { client }: Pick<GenerationDeps, 'client'>,
  maxTokens: number | undefined,
): Disposable {
  const entry = client.reserve({ tenant: c.get('tenant'), time: c.get('time'), maxTokens });
  c.set('queueEntry', entry);
  return entry;
}
