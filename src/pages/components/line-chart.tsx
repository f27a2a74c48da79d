// A line chart (uPlot) in the page's colors. It follows the width of its parent and the theme.
import { useEffect, useRef } from 'preact/hooks';
import type uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { count, figure, timeOfDay } from '../format.ts';
import { onDemand } from './on-demand.tsx';
import type { Points } from './points.ts';

/** A line of a chart. */
export interface Line {
  readonly label: string;
  /** A custom property of the style sheet, such as `--accent`. */
  readonly color: string;
  readonly isDashed?: boolean;
  /** Measured rarely; its points are marked. */
  readonly isSparse?: boolean;
}

interface ChartOptions {
  readonly name: string;
  readonly lines: readonly Line[];
  /** Whether x is in Unix seconds; else it is in steps. */
  readonly isTime?: boolean;
  readonly startsAtZero?: boolean;
  /** Whether y is 0 to 1. */
  readonly isShare?: boolean;
  readonly format?: (value: number) => string;
}

interface LineChartProps {
  /** Other options draw another chart. */
  readonly options: ChartOptions;
  readonly points: Points;
  /** For screen readers. */
  readonly summary: string;
}

const HEIGHT = 260;
/** Room for half of the label below the last point. */
const LABEL_MARGIN = 36;

/** Tick distances of an axis with whole numbers, and of one with seconds. */
const WHOLE = [1, 2, 5]
  .flatMap((n) => Array.from({ length: 7 }, (_, i) => n * 10 ** i))
  .sort((a, b) => a - b);
const SECONDS = [10, 15, 30, 60, 120, 300, 600, 1800, 3600];

// A page shows its text before the library has come.
const usePlot = onDemand(async () => (await import('uplot')).default);

/** A line chart with a legend. */
export function LineChart({ options, points, summary }: LineChartProps) {
  const Plot = usePlot();
  const area = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const shown = useRef(points);
  shown.current = points;
  useEffect(() => {
    if (!Plot) return;
    const element = area.current!;
    const resizes = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0) plot.current?.setSize({ width, height: HEIGHT });
    });
    const listeners = new AbortController();
    const { signal } = listeners;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new Plot(toPlot(options, element.clientWidth), shown.current, element);
    };
    draw();
    addEventListener('theme', draw, { signal });
    resizes.observe(element);
    return () => {
      listeners.abort();
      resizes.disconnect();
      plot.current?.destroy();
    };
  }, [options, Plot]);
  useEffect(() => plot.current?.setData(points), [points]);
  return <div class="chart" role="img" aria-label={`${options.name}: ${summary}`} ref={area} />;
}

function toPlot(options: ChartOptions, width: number): uPlot.Options {
  const { isTime = false, startsAtZero, isShare, lines, format = figure } = options;
  const axis = {
    stroke: color('--muted'),
    font: `12px ${color('--sans')}`,
    ticks: { show: false },
  };
  return {
    width: Math.max(width, 200),
    height: HEIGHT,
    scales: {
      x: { time: isTime, ...(isTime && { range: toMinutes }) },
      y: isShare ? { range: [0, 1] } : startsAtZero ? { range: fromZero } : {},
    },
    padding: [null, LABEL_MARGIN, null, null],
    cursor: { drag: { x: false, y: false }, points: { size: 8 } },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 80,
        incrs: isTime ? SECONDS : WHOLE,
        ...(isTime && { values: (_, ticks) => ticks.map(timeOfDay) }),
      },
      {
        ...axis,
        grid: { stroke: color('--line'), width: 1 },
        size: 56,
        values: (_, ticks) => ticks.map(format),
      },
    ],
    series: [
      {
        label: isTime ? 'Time' : 'Step',
        value: (_, x) => (x == null ? 'now' : isTime ? timeOfDay(x) : count(x)),
      },
      ...lines.map((line) => toSeries(line, format)),
    ],
    legend: { live: true },
  };
}

function toSeries({ label, color: name, isDashed, isSparse = false }: Line, format: Format) {
  const stroke = color(name);
  return {
    label,
    stroke,
    width: 2,
    spanGaps: true,
    value: (plot: uPlot, value: number | null, index: number) => {
      const shown = value ?? Array.from(plot.data[index] ?? []).findLast((y) => y != null);
      return shown == null ? '–' : format(shown);
    },
    points: {
      size: 7,
      fill: stroke,
      show: (plot: uPlot, index: number) => isSparse || isSingle(plot.data[index]!),
    },
    ...(isDashed && { dash: [6, 5] }),
  };
}

type Format = (value: number) => string;

/** One value alone makes no line. */
function isSingle(values: ArrayLike<number | null | undefined>): boolean {
  return Array.from(values).filter((value) => value != null).length === 1;
}

function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Shows at least a minute, since two points alone would fill the chart. */
function toMinutes(_: uPlot, min: number | null, max: number | null): uPlot.Range.MinMax {
  const end = max ?? Date.now() / 1000;
  return [Math.min(min ?? end, end - 60), end];
}

function fromZero(_: uPlot, __: number | null, max: number | null): uPlot.Range.MinMax {
  return [0, Math.max(max ?? 0, 1) * 1.05];
}
