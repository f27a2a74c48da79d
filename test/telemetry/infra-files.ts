// Reads the expressions of the alert rules and the dashboard.
import { readFileSync } from 'node:fs';
import { INSTRUMENTS, toPrometheusName } from '../../src/telemetry/instruments.ts';

export const ALERTS = 'infra/prometheus/alerts.yaml';
const DASHBOARD = 'infra/grafana/lorikeet.json';

interface Dashboard {
  panels: { title: string; targets?: { expr: string }[] }[];
}

/** PromQL of each panel, with Grafana's variables filled in. */
export function dashboardQueries(): { title: string; expr: string }[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as Dashboard;
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({
      title,
      expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*'),
    })),
  );
}

/** Names of metrics in a text of expressions. */
export function metricNames(text: string): Set<string> {
  return new Set(text.match(/\b(?:vllm:|gen_ai_|lorikeet_|process_|nodejs_)[a-z0-9_]+/g));
}

/** Every name under which a series may appear. */
export function knownNames(): Set<string> {
  const suffixes = ['', '_bucket', '_sum', '_count'];
  return new Set(
    Object.values(INSTRUMENTS).flatMap((instrument) => {
      const name = toPrometheusName(instrument);
      const own = instrument.kind === 'histogram' ? suffixes : [''];
      return own.map((suffix) => name + suffix);
    }),
  );
}
