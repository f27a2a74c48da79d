// A job's events: read page by page, kept once each, and turned into curves and warnings.
import type { FineTuningJobEvent } from '../../contracts/fine-tuning-api.ts';
import type { ApiMetricName } from '../../contracts/metrics.ts';
import { requestJson } from '../api.ts';
import type { Points } from '../components/points.ts';

/** The data of an event. A step's are its metrics. */
export type Metrics = FineTuningJobEvent['data'];
/** Events of a job. */
export type Events = readonly FineTuningJobEvent[];
type Steps = readonly Metrics[];

/** Events in one request. */
const PAGE_SIZE = 100;

/** Reads a job's events from the newest back to the known ones, and returns all. */
export async function readEvents(jobId: string, known: Events): Promise<Events> {
  const isKnown = new Set(known.map(({ id }) => id));
  let events = known;
  let after = '';
  while (true) {
    const page = await requestJson<{ data: Events; has_more: boolean; last_id: string | null }>(
      `v1/fine_tuning/jobs/${jobId}/events?limit=${PAGE_SIZE}${after}`,
    );
    events = withEvents(events, page.data);
    if (!page.has_more || page.data.some(({ id }) => isKnown.has(id))) return events;
    after = `&after=${page.last_id}`;
  }
}

/** Adds events in any order to known ones. Returns each once, the newest first; the known ones if there is no other. */
export function withEvents(known: Events, read: Events): Events {
  const byId = new Map([...known, ...read].map((event) => [event.id, event]));
  if (byId.size === known.length) return known;
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : -1)); // ids grow with time
}

/** Returns the metrics of each step, the first one first. */
export function stepsOf(events: Events): Metrics[] {
  const steps = events.flatMap(({ type, data }) =>
    type === 'metrics' && typeof data.step === 'number' ? [[data.step, data] as const] : [],
  );
  return [...new Map(steps).entries()].sort(([a], [b]) => a - b).map(([, metrics]) => metrics);
}

/** Returns the steps, then the values of each metric; null: not measured. */
export function pointsOf(steps: Steps, names: readonly ApiMetricName[]): Points {
  const measured = (value: unknown) =>
    typeof value === 'number' && Number.isFinite(value) ? value : null;
  return [
    steps.map(({ step }) => step!),
    ...names.map((name) => steps.map((metrics) => measured(metrics[name]))),
  ];
}

/** Returns the metrics of the newest step with a validation. */
export function lastValidated(steps: Steps): Metrics | undefined {
  return steps.findLast(
    (metrics) => (metrics.full_valid_loss ?? metrics.full_valid_mean_reward) !== undefined,
  );
}

/** Returns the newest warning of each kind, newest first. */
export function warningsOf(events: Events): Events {
  const warnings = events.filter(({ level }) => level === 'warn');
  const kindOf = ({ data, message }: FineTuningJobEvent) => data.code ?? message;
  return warnings.filter(
    (event, i) => warnings.findIndex((other) => kindOf(other) === kindOf(event)) === i,
  );
}

/** Combines one metric of several jobs into one chart: all steps, then a curve for each job. */
export function overlayCurves(jobs: readonly Steps[], name: ApiMetricName): Points {
  const curves = jobs.map((steps) => {
    const [numbers, values = []] = pointsOf(steps, [name]);
    return new Map(numbers.map((step, i) => [step, values[i] ?? null]));
  });
  const steps = [...new Set(curves.flatMap((curve) => [...curve.keys()]))].sort((a, b) => a - b);
  return [steps, ...curves.map((curve) => steps.map((step) => curve.get(step) ?? null))];
}
