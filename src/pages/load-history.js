// Tokens per second over the last hour: what the server remembers, then what this page has read. Pure.
import { ratesBetween } from './figures.js';

/** @typedef {Pick<import('./figures.js').Figures, 'promptTokens' | 'generatedTokens'>} Totals */
/** @typedef {{ atMs: number, figures: Totals | undefined }} TotalsAt figures: undefined if the engine gave none */

/** Of the chart. */
const SPAN_MS = 3_600_000;

/** @param {import('../contracts/management-api.ts').MetricsHistory} history @returns {TotalsAt[]} */
export function totalsOf({ samples }) {
  return samples.map(({ at, prompt_tokens: promptTokens, generated_tokens: generatedTokens }) => ({
    atMs: at * 1000,
    figures:
      promptTokens === null || generatedTokens === null
        ? undefined
        : { promptTokens, generatedTokens },
  }));
}

/**
 * The chart's points. Where the server was away there is a gap.
 * @param {readonly TotalsAt[]} remembered oldest first
 * @param {readonly TotalsAt[]} read oldest first
 * @param {number} nowMs
 * @returns {import('./chart.js').Points}
 */
export function ratePoints(remembered, read, nowMs) {
  const firstReadMs = read[0]?.atMs ?? Number.POSITIVE_INFINITY;
  const all = [...remembered.filter(({ atMs }) => atMs < firstReadMs), ...read].filter(
    ({ atMs }) => atMs > nowMs - SPAN_MS,
  );
  const rates = all.map(({ atMs, figures }, i) => {
    const before = all[i - 1];
    if (!figures || !before?.figures) return undefined;
    return ratesBetween({ atMs: before.atMs, figures: before.figures }, { atMs, figures });
  });
  return [
    all.map(({ atMs }) => atMs / 1000),
    rates.map((rate) => rate?.generated ?? null),
    rates.map((rate) => rate?.prompt ?? null),
  ];
}
