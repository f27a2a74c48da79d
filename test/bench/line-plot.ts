// Lines over one axis as an SVG picture. No fonts, scripts or styles from elsewhere.

interface Point {
  readonly x: number;
  readonly y: number;
  /** The range of the measurements, drawn as a bar. */
  readonly low?: number;
  readonly high?: number;
}

export interface LinePlot {
  readonly title: string;
  readonly xLabel: string;
  readonly lines: readonly { readonly label: string; readonly points: readonly Point[] }[];
  /** Vertical lines. */
  readonly guides?: readonly { readonly x: number; readonly label: string }[];
  /** Labels of the axis. Default: five round ones. */
  readonly ticks?: readonly number[];
  /** Equal distances are equal ratios. All x must be at least 1. */
  readonly isLogarithmic?: boolean;
  /** Marks each point. */
  readonly hasMarks?: boolean;
}

const WIDTH = 760;
const HEIGHT = 400;
const MARGIN = { left: 64, right: 24, top: 56, bottom: 52 };
const COLOURS = ['#1f6fb4', '#d9822b', '#3a8f4d', '#8a4fa3'];

export function linePlot(plot: LinePlot): string {
  const { title, xLabel, lines, guides = [] } = plot;
  const all = lines.flatMap(({ points }) => points);
  const maxX = all.reduce((most, { x }) => Math.max(most, x), 0);
  const maxY = all.reduce((most, { y, high = y }) => Math.max(most, high), 0) || 1;
  const step = niceStep(maxY / 4);
  const top = step * Math.ceil(maxY / step);
  const bottomY = HEIGHT - MARGIN.bottom;
  const rightX = WIDTH - MARGIN.right;
  const shareOf = (x: number) =>
    plot.isLogarithmic ? Math.log2(x) / Math.max(1, Math.log2(maxX)) : x / (maxX || 1);
  const atX = (x: number) => MARGIN.left + (rightX - MARGIN.left) * shareOf(x);
  const atY = (y: number) => bottomY - ((bottomY - MARGIN.top) * y) / top;
  const multiples = (count: number, size: number) =>
    Array.from({ length: count }, (_, i) => i * size);
  const xStep = niceStep((maxX || 1) / 6);
  const ticks = plot.ticks ?? multiples(Math.floor(maxX / xStep + 1e-9) + 1, xStep);
  const grid = multiples(Math.round(top / step) + 1, step).map(
    (y) =>
      `<line x1="${MARGIN.left}" x2="${rightX}" y1="${atY(y)}" y2="${atY(y)}" stroke="#eee"/>` +
      `<text x="${MARGIN.left - 8}" y="${atY(y) + 4}" text-anchor="end">${+y.toPrecision(6)}</text>`,
  );
  const labels = ticks.map(
    (x) =>
      `<text x="${atX(x)}" y="${bottomY + 18}" text-anchor="middle">${+x.toPrecision(6)}</text>`,
  );
  const verticals = guides
    .filter(({ x }) => x <= maxX)
    .map(
      ({ x, label }) =>
        `<line x1="${atX(x)}" x2="${atX(x)}" y1="${MARGIN.top}" y2="${bottomY}" stroke="#999" stroke-dasharray="4 4"/>` +
        `<text x="${atX(x) + 4}" y="${MARGIN.top - 6}" fill="#666">${label}</text>`,
    );
  const drawn = lines.map(({ label, points }, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const path = points.map(({ x, y }) => `${atX(x).toFixed(1)},${atY(y).toFixed(1)}`).join(' ');
    const marks = plot.hasMarks
      ? points.map(
          ({ x, y, low = y, high = y }) =>
            `<line x1="${atX(x)}" x2="${atX(x)}" y1="${atY(low)}" y2="${atY(high)}" stroke="${colour}"/>` +
            `<circle cx="${atX(x)}" cy="${atY(y)}" r="3.5" fill="${colour}"/>`,
        )
      : [];
    const name = lines.length > 1 ? label : '';
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
      `<text x="${rightX - 4}" y="${24 + 16 * i}" text-anchor="end" fill="${colour}">${name}</text>`,
      ...marks,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="${title}">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${MARGIN.left}" y="24" font-size="15">${title}</text>
${[...grid, ...labels, ...verticals].join('\n')}
<text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${xLabel}</text>
${drawn.join('\n')}
</svg>
`;
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9))!;
}
