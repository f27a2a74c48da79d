// The figures of a soak, and a picture of the memory over time.

import { linePlot } from '../bench/line-plot.ts';
import { atLeast, atMost, type Figure, toFigure } from '../bench/report.ts';
import {
  countBy,
  ended,
  firstTokensMs,
  quantileOf,
  serverErrors,
  silentRefusals,
} from './results.ts';
import { NONE, none, type Report } from './scenario.ts';
import type { Soaked, SoakOptions } from './scenarios/soak.ts';
import { slopePer10Min } from './slope.ts';
import type { Outcome } from './traffic.ts';

/** Caches fill up and code is compiled before that. */
const SETTLING_MS = 600_000;
/** A request near an outage may have been caught by it. */
const MARGIN_MS = 1000;

export function soakReport(soaked: Soaked, options: SoakOptions): Report {
  const { outcomes, publications, atRest } = soaked;
  const undisturbed = outcomes.filter((one) => !isDisturbed(one, soaked));
  const failed = undisturbed.filter(({ ending }) => ending !== 'done' && ending !== 'left');
  const available = 1 - failed.length / undisturbed.length;
  return {
    figures: [
      toFigure('requests; without those near a restart of the engine', 'count', outcomes.length, {
        other: undisturbed.length,
      }),
      toFigure(
        'answers with the right text',
        'count',
        outcomes.filter(({ isRight }) => isRight).length,
      ),
      none(
        'answers with another text',
        outcomes.filter(({ isRight }) => isRight === false),
      ),
      none('not ended in time', ended(outcomes, 'hung')),
      none('server errors other than 503', serverErrors(outcomes)),
      none('refusals without retry-after', silentRefusals(outcomes)),
      toFigure('available, but for restarts of the engine', '%', 100 * available, {
        target: atLeast(99.9),
      }),
      toFigure('versions published; lost', 'count', publications.confirmed, {
        other: publications.lost,
      }),
      toFigure('versions lost', 'count', publications.lost, { target: NONE }),
      toFigure(
        'sequences that still run or wait at rest',
        'count',
        atRest.running + atRest.waiting,
        { target: NONE },
      ),
      toFigure('descriptors at rest; before', 'count', soaked.after.descriptors, {
        other: soaked.before.descriptors,
      }),
      ...memoryFigures(soaked, options),
      ...drift(outcomes),
    ],
    svg: memoryPlot(soaked),
  };
}

/** Why requests failed, for the eye. */
export const failuresOf = ({ outcomes }: Soaked): Record<string, number> =>
  countBy(outcomes, ({ ending, status, code }) =>
    ending === 'done' || ending === 'left' ? undefined : `${ending} ${status ?? ''} ${code ?? ''}`,
  );

function isDisturbed({ dueMs, endMs }: Outcome, { outages }: Soaked): boolean {
  return outages.some(({ fromMs, toMs }) => dueMs < toMs + MARGIN_MS && endMs > fromMs - MARGIN_MS);
}

/** A slope counts against its target only if it was measured for ten minutes. */
function memoryFigures({ memory }: Soaked, { minutes, hasChaos }: SoakOptions): Figure[] {
  const isLong = minutes * 60_000 >= 2 * SETTLING_MS;
  // With chaos no engine lives long enough to grow.
  const processes = hasChaos ? (['server'] as const) : (['server', 'engine'] as const);
  return processes.flatMap((process) => {
    const samples = memory[process];
    const settlingMs = isLong ? SETTLING_MS : (minutes * 60_000) / 2;
    const fromMs = (samples[0]?.atMs ?? 0) + settlingMs;
    const slope = slopePer10Min(samples.filter(({ atMs }) => atMs >= fromMs));
    if (slope === undefined) return [];
    const name = `memory of the ${process}, growth in 10 min after ${settlingMs / 60_000} min`;
    return [toFigure(name, 'MiB', slope, { target: isLong ? atMost(1) : undefined })];
  });
}

/** Whether it got slower: the last sixth against the first. */
function drift(outcomes: readonly Outcome[]): Figure[] {
  const sorted = ended(outcomes, 'done').sort((a, b) => a.dueMs - b.dueMs);
  const sixth = Math.floor(sorted.length / 6);
  if (sixth === 0) return [];
  const p95 = (part: readonly Outcome[]) => quantileOf(firstTokensMs(part), 0.95);
  return [
    toFigure('first token, p95: last sixth; first', 'ms', p95(sorted.slice(-sixth)), {
      other: p95(sorted.slice(0, sixth)),
    }),
  ];
}

function memoryPlot({ memory, outages }: Soaked): string {
  const startMs = memory.server[0]?.atMs ?? 0;
  const minutes = (atMs: number) => (atMs - startMs) / 60_000;
  const line = (label: string, samples: Soaked['memory']['server']) => ({
    label,
    points: samples.map(({ atMs, value }) => ({ x: minutes(atMs), y: value })),
  });
  return linePlot({
    title: 'Memory of their own, MiB',
    xLabel: 'minutes',
    lines: [line('server', memory.server), line('engine', memory.engine)],
    guides: outages.map(({ fromMs }) => ({ x: minutes(fromMs), label: '' })),
  });
}
