// Measures what a server can do at most: the yardstick of the scenarios.
import { generate } from './generator.ts';
import { ended, goodput, innerWindow } from './results.ts';
import { type Capacity, USUAL } from './scenario.ts';
import { ADAPTER_NAMES, type Stage, TENANTS } from './stage.ts';
import type { Outcome, Plan, Source } from './traffic.ts';

export const SLOTS = 16;
/** Twice the slots: there is always a request for a free one. */
const CLIENTS = 2 * SLOTS;

/** The usual requests of all tenants. */
export function usualSources(
  { keys }: Stage,
  loadOf: (tenant: string) => Source['load'],
  more: Partial<Source> = {},
): Source[] {
  return TENANTS.map((tenant) => ({
    ...{
      name: tenant,
      key: keys[tenant]!,
      load: loadOf(tenant),
      models: ['base', ...ADAPTER_NAMES],
    },
    ...USUAL,
    ...more,
  }));
}

export const planOf = (
  { url }: Stage,
  sources: readonly Source[],
  { seconds, seed }: { seconds: number; seed: number },
): Plan => ({ url, seed, seconds, sources, graceSeconds: 30 });

/** Closed loop over all slots. */
export async function measureCapacity(
  stage: Stage,
  seconds: number,
): Promise<{ capacity: Capacity; outcomes: Outcome[] }> {
  const sources = usualSources(stage, () => ({ clients: CLIENTS / TENANTS.length }));
  await generate(planOf(stage, sources, { seconds: 2, seed: 99 })); // warm
  const outcomes = await generate(planOf(stage, sources, { seconds, seed: 1 }));
  const done = ended(outcomes, 'done');
  if (done.length < outcomes.length) {
    const [failed] = outcomes.filter(({ ending }) => ending !== 'done');
    throw new Error(`a request failed while nothing was overloaded: ${JSON.stringify(failed)}`);
  }
  const tokensPerS = goodput(outcomes, innerWindow(outcomes, seconds));
  if (!(tokensPerS > 0)) throw new Error(`nothing was answered within ${seconds} s`);
  const tokensPerRequest = done.reduce((sum, { tokens }) => sum + tokens, 0) / done.length;
  const stepMs = (SLOTS * 1000) / tokensPerS;
  return { capacity: { tokensPerS, tokensPerRequest, stepMs }, outcomes };
}
