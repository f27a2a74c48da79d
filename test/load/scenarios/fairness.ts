// L3: a tenant that asks for ten times its share beside one that asks for half of its own; and two that ask for all they can
// get.
import { toFigure } from '../../bench/report.ts';
import { planOf, SLOTS } from '../capacity.ts';
import { generate } from '../generator.ts';
import { ended, firstTokensMs, goodput, innerWindow, jain, quantileOf } from '../results.ts';
import { type Context, none, type Report, USUAL } from '../scenario.ts';
import { ADAPTER_NAMES, type Stage } from '../stage.ts';
import type { Source } from '../traffic.ts';

const HEAVY_FACTOR = 10;
const LIGHT_FACTOR = 0.5;

export async function runFairness({ seconds, shared }: Context): Promise<Report> {
  const { stage, capacity } = await shared();
  /** Requests per second of a fair share of two. */
  const share = capacity.tokensPerS / capacity.tokensPerRequest / 2;
  const light = sourceOf(stage, 'birch', { perSecond: LIGHT_FACTOR * share });
  const heavy = sourceOf(stage, 'amber', { perSecond: HEAVY_FACTOR * share });
  const alone = await generate(planOf(stage, [light], { seconds, seed: 31 }));
  const beside = await generate(planOf(stage, [light, heavy], { seconds, seed: 31 }));
  const ofLight = beside.filter(({ source }) => source === light.name);
  const p95 = (outcomes: typeof alone) => quantileOf(firstTokensMs(outcomes), 0.95);

  const backlogged = ['cedar', 'dune'].map((name) => sourceOf(stage, name, { clients: SLOTS }));
  const both = await generate(planOf(stage, backlogged, { seconds, seed: 32 }));
  const window = innerWindow(both, seconds);
  const served = backlogged.map(({ name }) =>
    goodput(
      both.filter(({ source }) => source === name),
      window,
    ),
  );
  return {
    figures: [
      toFigure(
        `light tenant beside one that asks for ${HEAVY_FACTOR}x: first token, p95; alone`,
        'ms',
        {
          ours: [p95(ofLight)],
          other: [p95(alone)],
        },
      ),
      toFigure('the same, less one step', 'ms', {
        ours: [p95(ofLight) - capacity.stepMs],
        other: [p95(alone)],
        target: { kind: 'ratio', bound: 'at most', limit: 1.5 },
      }),
      none(
        'light tenant: not answered',
        ofLight.filter(({ ending }) => ending !== 'done'),
      ),
      toFigure('heavy tenant: refused', 'count', { ours: [ended(beside, 'refused').length] }),
      toFigure('two backlogged tenants: index of Jain', '%', {
        ours: [100 * jain(served)],
        target: { kind: 'value', bound: 'at least', limit: 99 },
      }),
    ],
  };
}

function sourceOf(stage: Stage, name: string, load: Source['load']): Source {
  return { name, key: stage.keys[name]!, load, models: ['base', ...ADAPTER_NAMES], ...USUAL };
}
