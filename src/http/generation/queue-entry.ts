// The queue entry of a request: one of those that wait for the engine, from its check until its sequences are submitted.
import type { Context } from 'hono';
import type { HttpEnv } from '../wire/middleware.ts';
import type { GenerationDeps } from './generation-plan.ts';

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
