// A line chart by uPlot in the page's colours: as wide as its place, drawn anew when the colours change. Knows no data.
import { el } from './dom.js';
import { count, figure, timeOfDay } from './format.js';
import uPlot from './uplot.js';

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color a custom property of the style sheet, such as `--accent`
 * @property {boolean} [isDashed]
 * @property {boolean} [isSparse] measured now and then: points, joined
 */

/** Of x and of each line; null: not measured. @typedef {[number[], ...(number | null)[][]]} Points */

const HEIGHT = 260;

/** Steps of an axis of whole numbers, and of one of seconds. */
const WHOLE = [1, 2, 5]
  .flatMap((n) => Array.from({ length: 7 }, (_, i) => n * 10 ** i))
  .sort((a, b) => a - b);
const SECONDS = [10, 15, 30, 60, 120, 300, 600, 1800, 3600];

export class Chart {
  #place;
  #options;
  #ends = new AbortController();
  #sizes;
  /** @type {uPlot | undefined} */
  #plot;
  /** @type {Points} */
  #points;

  /**
   * @param {HTMLElement} place
   * @param {{ lines: readonly Line[], isTime?: boolean, startsAtZero?: boolean, name: string, format?: (value: number) => string }} options
   */
  constructor(place, options) {
    this.#options = options;
    this.#place = el('div', { className: 'chart', role: 'img', 'aria-label': options.name });
    place.append(this.#place);
    this.#points = /** @type {Points} */ ([[], ...options.lines.map(() => [])]);
    const { signal } = this.#ends;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw(), {
      signal,
    });
    this.#sizes = new ResizeObserver(() => {
      const width = this.#place.clientWidth;
      if (width > 0 && this.#plot?.width !== width) this.#plot?.setSize({ width, height: HEIGHT });
    });
    this.#sizes.observe(this.#place);
    this.#draw();
  }

  /** Takes it off the page. */
  remove() {
    this.#ends.abort();
    this.#sizes.disconnect();
    this.#plot?.destroy();
    this.#place.remove();
  }

  /** @param {Points} points @param {string} summary in words, for who does not see it */
  show(points, summary) {
    this.#points = points;
    this.#place.setAttribute('aria-label', `${this.#options.name}: ${summary}`);
    this.#plot?.setData(/** @type {uPlot.AlignedData} */ (points));
  }

  #draw() {
    this.#plot?.destroy();
    const { isTime = false, startsAtZero = false, lines, format = figure } = this.#options;
    const ink = color('--muted');
    const axis = { stroke: ink, font: `12px ${color('--sans')}`, ticks: { show: false } };
    const grid = { stroke: color('--line'), width: 1 };
    this.#plot = new uPlot(
      {
        width: Math.max(this.#place.clientWidth, 200),
        height: HEIGHT,
        scales: {
          x: { time: isTime, ...(isTime && { range: toMinutes }) },
          y: startsAtZero ? { range: fromZero } : {},
        },
        cursor: { drag: { x: false, y: false }, points: { size: 8 } },
        axes: [
          {
            ...axis,
            grid: { show: false },
            space: 80,
            incrs: isTime ? SECONDS : WHOLE,
            ...(isTime && { values: (_, ticks) => ticks.map(timeOfDay) }),
          },
          { ...axis, grid, size: 56, values: (_, ticks) => ticks.map(format) },
        ],
        series: [
          {
            label: isTime ? 'Time' : 'Step',
            value: (_, x) => (x == null ? 'now' : isTime ? timeOfDay(x) : count(x)),
          },
          ...lines.map((line) => toSeries(line, format)),
        ],
        legend: { live: true },
      },
      /** @type {uPlot.AlignedData} */ (this.#points),
      this.#place,
    );
  }
}

/** @param {Line} line @param {(value: number) => string} format @returns {uPlot.Series} */
function toSeries({ label, color: name, isDashed, isSparse }, format) {
  const stroke = color(name);
  return {
    label,
    stroke,
    width: 2,
    spanGaps: true,
    value: (plot, value, index) => {
      const shown = value ?? Array.from(plot.data[index] ?? []).findLast((y) => y != null);
      return shown == null ? '–' : format(shown);
    },
    points: isSparse ? { show: true, size: 7, fill: stroke } : { show: false },
    ...(isDashed && { dash: [6, 5] }),
  };
}

/** @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The last minute at least: a curve of two points would fill the chart. @type {uPlot.Range.Function} */
function toMinutes(_, min, max) {
  const end = max ?? Date.now() / 1000;
  return [Math.min(min ?? end, end - 60), end];
}

/** @type {uPlot.Range.Function} */
function fromZero(_, __, max) {
  return [0, Math.max(max ?? 0, 1) * 1.05];
}
