// Writes metrics in Prometheus's text format, version 0.0.4. (OpenTelemetry's exporter would write the `:` in vLLM's names as
// `_`, and routers would not find them.)
import { toPrometheusLabel, toPrometheusName } from './instruments.ts';
import type { Distribution, MetricFamily } from './metrics.ts';

/** The content type of the text. */
export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Writes all families. */
export function writePrometheusText(families: readonly MetricFamily[]): string {
  return families.map(writeFamily).join('');
}

function writeFamily({ instrument, series }: MetricFamily): string {
  const name = toPrometheusName(instrument);
  const { kind, help, buckets = [] } = instrument;
  const openings = instrument.labels.map((label) => `${toPrometheusLabel(label)}="`);
  const bounds = [...buckets.map(String), '+Inf'];
  let text = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n`;
  for (const { labelValues, value, distribution } of series) {
    const pairs = labelValues.map((label, i) => `${openings[i]}${escapeLabel(label)}"`).join(',');
    if (distribution) text += writeHistogram(name, pairs, bounds, distribution);
    else text += `${name}${braces(pairs)} ${value}\n`;
  }
  return text;
}

/** Buckets are cumulative in the text. */
function writeHistogram(
  name: string,
  pairs: string,
  bounds: readonly string[],
  { counts, sum, count }: Distribution,
): string {
  const opening = `${name}_bucket{${pairs}${pairs === '' ? '' : ','}le="`;
  let text = '';
  let total = 0;
  for (const [i, bound] of bounds.entries()) {
    total += counts[i]!;
    text += `${opening}${bound}"} ${total}\n`;
  }
  return `${text}${name}_sum${braces(pairs)} ${sum}\n${name}_count${braces(pairs)} ${count}\n`;
}

function braces(pairs: string): string {
  return pairs === '' ? '' : `{${pairs}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return /["\\\n]/.test(text) ? escapeHelp(text).replaceAll('"', '\\"') : text;
}
