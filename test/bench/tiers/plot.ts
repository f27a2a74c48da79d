// Throughput over the number of adapters asked for: the median of the rounds, their range, and what fits where.
import { linePlot } from '../line-plot.ts';
import { quantile } from '../quantile.ts';
import { ROOM, type WorkingSet } from './working-sets.ts';

const ROOM_LABELS: Record<keyof typeof ROOM, string> = {
  slot: 'slots',
  ram: 'memory',
  disk: 'disk',
};

export function plotWorkingSets(sets: readonly WorkingSet[], title: string): string {
  const points = sets.map(({ adapters, tokensPerS }) => ({
    x: adapters,
    y: quantile(tokensPerS, 0.5),
    low: Math.min(...tokensPerS),
    high: Math.max(...tokensPerS),
  }));
  return linePlot({
    title,
    xLabel: 'adapters, each asked for as often',
    lines: [{ label: 'tokens per second', points }],
    guides: Object.entries(ROOM).map(([tier, count]) => ({
      x: count,
      label: `${ROOM_LABELS[tier as keyof typeof ROOM]}: ${count}`,
    })),
    ticks: sets.map(({ adapters }) => adapters),
    isLogarithmic: true,
    hasMarks: true,
  });
}
