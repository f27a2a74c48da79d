// Throughput over the number of adapters asked for, as one SVG picture: the median of the rounds, their range, and what
// fits where. No fonts, scripts or styles from elsewhere.
import { quantile } from './quantile.ts';
import { ROOM, type WorkingSet } from './working-sets.ts';

const WIDTH = 760;
const HEIGHT = 400;
const MARGIN = { left: 64, right: 24, top: 56, bottom: 52 };
const ROOM_LABELS: Record<keyof typeof ROOM, string> = {
  slot: 'slots',
  ram: 'memory',
  disk: 'disk',
};

export function plotWorkingSets(sets: readonly WorkingSet[], title: string): string {
  const most = Math.max(...sets.map(({ adapters }) => adapters));
  const highest = Math.max(...sets.flatMap(({ tokensPerS }) => tokensPerS));
  const step = niceStep(highest / 4);
  const top = step * Math.ceil(highest / step);
  const bottomY = HEIGHT - MARGIN.bottom;
  const x = (count: number) =>
    MARGIN.left +
    ((WIDTH - MARGIN.left - MARGIN.right) * Math.log2(count)) / Math.max(1, Math.log2(most));
  const y = (rate: number) => bottomY - ((bottomY - MARGIN.top) * rate) / top;
  const points = sets.map(({ adapters, tokensPerS }) => ({
    atX: x(adapters),
    atY: y(quantile(tokensPerS, 0.5)),
    lowY: y(Math.min(...tokensPerS)),
    highY: y(Math.max(...tokensPerS)),
  }));
  const grid = Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step).map(
    (rate) =>
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(rate)}" y2="${y(rate)}" stroke="#eee"/>` +
      `<text x="${MARGIN.left - 8}" y="${y(rate) + 4}" text-anchor="end">${rate}</text>`,
  );
  const ticks = sets.map(
    ({ adapters }) =>
      `<text x="${x(adapters)}" y="${bottomY + 18}" text-anchor="middle">${adapters}</text>`,
  );
  const rooms = Object.entries(ROOM)
    .filter(([, count]) => count <= most)
    .map(
      ([tier, count]) =>
        `<line x1="${x(count)}" x2="${x(count)}" y1="${MARGIN.top}" y2="${bottomY}" stroke="#999" stroke-dasharray="4 4"/>` +
        `<text x="${x(count) + 4}" y="${MARGIN.top - 6}" fill="#666">${ROOM_LABELS[tier as keyof typeof ROOM]}: ${count}</text>`,
    );
  const line = points.map(({ atX, atY }) => `${atX.toFixed(1)},${atY.toFixed(1)}`).join(' ');
  const marks = points.map(
    ({ atX, atY, lowY, highY }) =>
      `<line x1="${atX}" x2="${atX}" y1="${lowY}" y2="${highY}" stroke="#1f6fb4"/>` +
      `<circle cx="${atX}" cy="${atY}" r="3.5" fill="#1f6fb4"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="${title}">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${MARGIN.left}" y="24" font-size="15">${title}</text>
${[...grid, ...ticks, ...rooms].join('\n')}
<text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 12}" text-anchor="middle">adapters, each asked for as often</text>
<polyline points="${line}" fill="none" stroke="#1f6fb4" stroke-width="1.5"/>
${marks.join('\n')}
</svg>
`;
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least)!;
}
