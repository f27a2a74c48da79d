// A line chart (uPlot) in the page's colors. It follows the width of its parent and the color scheme.
import { el } from './dom.js';
import { count, figure, timeOfDay } from './format.js';
import uPlot from './uplot.js';

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color a custom property of the style sheet, such as `--accent`
 * @property {boolean} [isDashed]
 * @property {boolean} [isSparse] measured rarely; its points are marked
 */

/** The x values, then the values of each line; null: not measured. @typedef {[number[], ...(number | null)[][]]} Points */

const HEIGHT = 260;
/** Room for half of the label below the last point. */
const LABEL_MARGIN = 36;

/** Tick distances of an axis with whole numbers, and of one with seconds. */
const WHOLE = [1, 2, 5]
  .flatMap((n) => Array.from({ length: 7 }, (_, i) => n * 10 ** i))
  .sort((a, b) => a - b);
const SECONDS = [10, 15, 30, 60, 120, 300, 600, 1800, 3600];

/** A line chart with a legend. */
export class Chart {
  #element;
  #options;
  #listeners = new AbortController();
  #resizes;
  /** @type {uPlot | undefined} */
  #plot;
  /** @type {Points} */
  #points;

  /**
   * @param {HTMLElement} parent
   * @param {{ lines: readonly Line[], isTime?: boolean, startsAtZero?: boolean, isShare?: boolean, name: string, format?: (value: number) => string }} options
   *   isTime: x is in Unix seconds, else in steps; isShare: y is 0 to 1
   */
  constructor(parent, options) {
    this.#options = options;
    this.#element = el('div.chart', { role: 'img', 'aria-label': options.name });
    parent.append(this.#element);
    this.#points = /** @type {Points} */ ([[], ...options.lines.map(() => [])]);
    const { signal } = this.#listeners;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw(), {
      signal,
    });
    this.#resizes = new ResizeObserver(() => {
      const width = this.#element.clientWidth;
      if (width > 0 && this.#plot?.width !== width) this.#plot?.setSize({ width, height: HEIGHT });
    });
    this.#resizes.observe(this.#element);
    this.#draw();
  }

  /** Removes the chart from the page. */
  remove() {
    this.#listeners.abort();
    this.#resizes.disconnect();
    this.#plot?.destroy();
    this.#element.remove();
  }

  /** Shows new values. @param {Points} points @param {string} summary for screen readers */
  show(points, summary) {
    this.#points = points;
    this.#element.setAttribute('aria-label', `${this.#options.name}: ${summary}`);
    this.#plot?.setData(/** @type {uPlot.AlignedData} */ (points));
  }

  #draw() {
    this.#plot?.destroy();
    const { isTime, startsAtZero, isShare, lines, format = figure } = this.#options;
    const ink = color('--muted');
    const axis = { stroke: ink, font: `12px ${color('--sans')}`, ticks: { show: false } };
    const grid = { stroke: color('--line'), width: 1 };
    this.#plot = new uPlot(
      {
        width: Math.max(this.#element.clientWidth, 200),
        height: HEIGHT,
        scales: {
          x: { time: isTime === true, ...(isTime && { range: toMinutes }) },
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
      this.#element,
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

/** Shows at least a minute, since two points alone would fill the chart. @type {uPlot.Range.Function} */
function toMinutes(_, min, max) {
  const end = max ?? Date.now() / 1000;
  return [Math.min(min ?? end, end - 60), end];
}

/** @type {uPlot.Range.Function} */
function fromZero(_, __, max) {
  return [0, Math.max(max ?? 0, 1) * 1.05];
}
