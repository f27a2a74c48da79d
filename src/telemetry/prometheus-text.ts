// Writes metrics in Prometheus's text format, version 0.0.4.
// (OpenTelemetry's exporter turns the `:` of vLLM's names into `_`, by which no router finds them.)
import { toPrometheusLabel, toPrometheusName } from './instruments.ts';
import type { Family, Series } from './metrics.ts';

export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function writePrometheusText(families: readonly Family[]): string {
  return families.map(writeFamily).join('');
}

function writeFamily({ instrument, series }: Family): string {
  const name = toPrometheusName(instrument);
  const labels = instrument.labels.map(toPrometheusLabel);
  const lines = [
    `# HELP ${name} ${escapeHelp(instrument.help)}`,
    `# TYPE ${name} ${instrument.kind}`,
  ];
  for (const one of series) {
    const pairs = labels.map((label, i) => `${label}="${escapeLabel(one.labelValues[i]!)}"`);
    if (one.distribution) lines.push(...writeHistogram(name, pairs, instrument.buckets!, one));
    else lines.push(`${name}${braces(pairs)} ${one.value}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Buckets are cumulative in the text. */
function writeHistogram(
  name: string,
  pairs: readonly string[],
  bounds: readonly number[],
  { distribution }: Series,
): string[] {
  const { counts, sum, count } = distribution!;
  let total = 0;
  const buckets = [...bounds, '+Inf'].map((bound, i) => {
    total += counts[i]!;
    return `${name}_bucket${braces([...pairs, `le="${bound}"`])} ${total}`;
  });
  return [
    ...buckets,
    `${name}_sum${braces(pairs)} ${sum}`,
    `${name}_count${braces(pairs)} ${count}`,
  ];
}

function braces(pairs: readonly string[]): string {
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
