// Refuses requests that the engine cannot take, before their bodies are read.
import { ServeError } from '../../common/errors.ts';
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
