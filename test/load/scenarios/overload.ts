// L1 and L2: what a server can do, and what it does if it is asked for more.
import { linePlot } from '../../bench/line-plot.ts';
import { atLeast, atMost, type Figure, toFigure } from '../../bench/report.ts';
import { measureCapacity, planOf, usualSources } from '../capacity.ts';
import { generate, learnGolden } from '../generator.ts';
import {
  broken,
  ended,
  goodput,
  innerWindow,
  latenessMs,
  quantileOf,
  refusalsMs,
  serverErrors,
  silentRefusals,
} from '../results.ts';
import { type Context, none, type Report } from '../scenario.ts';
import { TENANTS } from '../stage.ts';

const CHECKED_PROMPTS = 6;
const FACTORS = [
  { factor: 2, least: 0.95 },
  { factor: 5, least: 0.9 },
  { factor: 10, least: 0.85 },
];

/** L1: four tenants keep all slots busy. Streams and whole answers have the text that each prompt has alone. */
export async function runCapacity({ seconds, shared }: Context): Promise<Report> {
  const { stage } = await shared();
  await stage.metric('nodejs_eventloop_lag_p99_seconds');
  const { capacity, outcomes } = await measureCapacity(stage, seconds);
  const lagMs = 1000 * (await stage.metric('nodejs_eventloop_lag_p99_seconds'));
  const more = { prompts: CHECKED_PROMPTS, streamed: 0.5 };
  const sources = usualSources(stage, () => ({ clients: 8 }), more);
  const golden = await learnGolden(stage.url, { ...sources[0]!, prompts: CHECKED_PROMPTS });
  const checked = await generate({ ...planOf(stage, sources, { seconds, seed: 2 }), golden });
  const right = checked.filter(({ isRight }) => isRight === true);
  return {
    figures: [
      toFigure('capacity', 'tokens/s', capacity.tokensPerS),
      toFigure('event loop delay, p99', 'ms', lagMs, { target: atMost(20) }),
      none(
        'errors',
        [...outcomes, ...checked].filter(({ ending }) => ending !== 'done'),
      ),
      toFigure('answers compared, streams and whole', 'count', right.length, {
        target: atLeast(1),
      }),
      none(
        'answers with another text',
        checked.filter(({ isRight }) => isRight === false),
      ),
    ],
  };
}

/** L2: two, five and ten times what the server can do, then half of it. */
export async function runOverload({ seconds, shared, tell }: Context): Promise<Report> {
  const { stage, capacity } = await shared();
  const offer = (factor: number, seed: number) => {
    const perSecond = (factor * capacity.tokensPerS) / capacity.tokensPerRequest / TENANTS.length;
    const sources = usualSources(stage, () => ({ perSecond }));
    return generate(planOf(stage, sources, { seconds, seed }));
  };
  const figures: Figure[] = [];
  const points = [{ x: 1, y: capacity.tokensPerS }];
  for (const { factor, least } of FACTORS) {
    const outcomes = await offer(factor, factor);
    const served = goodput(outcomes, innerWindow(outcomes, seconds));
    points.push({ x: factor, y: served });
    const name = (what: string) => `${factor}x: ${what}`;
    const refused = ended(outcomes, 'refused').length;
    figures.push(
      toFigure(name('requests; refused'), 'count', outcomes.length, {
        other: refused,
        target: atLeast(1),
      }),
      toFigure(name('goodput; capacity'), 'tokens/s', served, {
        other: capacity.tokensPerS,
        target: atLeast(least, 'ratio'),
      }),
      toFigure(name('refusals, p99'), 'ms', quantileOf(refusalsMs(outcomes), 0.99), {
        target: atMost(50),
      }),
      none(name('refusals without retry-after'), silentRefusals(outcomes)),
      none(name('hung, cut or reset'), broken(outcomes)),
      none(name('server errors'), serverErrors(outcomes)),
      toFigure(
        name("the generator's own delay, p99"),
        'ms',
        quantileOf(latenessMs(outcomes), 0.99),
      ),
    );
    const skipped = ended(outcomes, 'skipped').length;
    tell(
      `${factor}x: ${outcomes.length} requests, ${refused} refused, ${skipped} without a connection`,
    );
  }
  const after = await offer(0.5, 50);
  const timesMs = ended(after, 'done').map(({ dueMs, endMs }) => endMs - dueMs);
  figures.push(
    toFigure('then 0.5x: whole answers, p95', 'ms', quantileOf(timesMs, 0.95), {
      target: atMost(5000),
    }),
    none(
      'then 0.5x: not answered',
      after.filter(({ ending }) => ending !== 'done'),
    ),
  );
  const svg = linePlot({
    title: 'Goodput under more and more load, tokens per second',
    xLabel: 'offered load, in capacities',
    lines: [{ label: 'goodput', points }],
    ticks: points.map(({ x }) => x),
    hasMarks: true,
  });
  return { figures, svg };
}
