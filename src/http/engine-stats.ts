// The engine's figures for those who may not wait for them: between two steps it answers at once.
import type { EngineClient } from '../scheduler/client.ts';
import type { EngineStats } from '../scheduler/protocol.ts';

/** Undefined where the engine is not ready or has no figures in time. */
export async function statsWithin(
  client: EngineClient,
  timeoutMs: number,
): Promise<EngineStats | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, undefined);
  });
  const stats = client.stats().catch(() => undefined); // not ready; its state says so
  const first = await Promise.race([stats, late]);
  clearTimeout(timer);
  return first;
}
