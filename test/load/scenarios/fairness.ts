// L3: a tenant that asks for ten times its share beside one that asks for a quarter or half of its own; and two that ask for
// all they can get.
import { atLeast, atMost, toFigure } from '../../bench/report.ts';
import { planOf, SLOTS } from '../capacity.ts';
import { generate } from '../generator.ts';
import { ended, firstTokensMs, goodput, innerWindow, jain, quantileOf } from '../results.ts';
import { type Context, none, type Report, USUAL } from '../scenario.ts';
import { ADAPTER_NAMES, type Stage } from '../stage.ts';
import type { Source } from '../traffic.ts';

const HEAVY_FACTOR = 10;
/**
 * What a light tenant asks for, as a part of its share. With more, it often has as many answers at once as its share of the
 * slots, and waits for its own; the target is not for that.
 */
const LIGHT_FACTOR = 0.25;
const HALF = 0.5;
/** A light tenant asks seldom: its times need more seconds. */
const LONGER = 3;

export async function runFairness({ seconds, shared }: Context): Promise<Report> {
  const { stage, capacity } = await shared();
  /** Requests per second of a fair share of two. */
  const share = capacity.tokensPerS / capacity.tokensPerRequest / 2;
  const heavy = sourceOf(stage, 'amber', { perSecond: HEAVY_FACTOR * share });
  const serveLight = async (factor: number) => {
    const light = sourceOf(stage, 'birch', { perSecond: factor * share });
    const plan = (sources: Source[]) =>
      planOf(stage, sources, { seconds: LONGER * seconds, seed: 31 });
    const alone = await generate(plan([light]));
    const all = await generate(plan([light, heavy]));
    return { alone, all, beside: all.filter(({ source }) => source === light.name) };
  };
  const light = await serveLight(LIGHT_FACTOR);
  const half = await serveLight(HALF);
  const p95 = (outcomes: typeof light.alone) => quantileOf(firstTokensMs(outcomes), 0.95);
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
        p95(light.beside),
        { other: p95(light.alone) },
      ),
      toFigure('the same, less one step', 'ms', p95(light.beside) - capacity.stepMs, {
        other: p95(light.alone),
        target: atMost(1.5, 'ratio'),
      }),
      toFigure(
        'one that asks for half of its share, less one step',
        'ms',
        p95(half.beside) - capacity.stepMs,
        { other: p95(half.alone) },
      ),
      none(
        'light tenant: not answered',
        [...light.beside, ...half.beside].filter(({ ending }) => ending !== 'done'),
      ),
      toFigure('heavy tenant: refused', 'count', ended(light.all, 'refused').length),
      toFigure('two backlogged tenants: index of Jain', '%', 100 * jain(served), {
        target: atLeast(99),
      }),
    ],
  };
}

function sourceOf(stage: Stage, name: string, load: Source['load']): Source {
  return { name, key: stage.keys[name]!, load, models: ['base', ...ADAPTER_NAMES], ...USUAL };
}
