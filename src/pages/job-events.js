// A job's events: read page by page, kept once each, and turned into curves and warnings.
import { requestJson } from './api.js';

/** @typedef {import('../contracts/fine-tuning-api.ts').FineTuningJobEvent} JobEvent */
/** @typedef {JobEvent['data']} Metrics */
/** @typedef {import('../contracts/metrics.ts').ApiMetricName} MetricName */

/** Events in one request. */
const PAGE_SIZE = 100;

/** The events of a job that the page has read so far. */
export class EventLog {
  /** By id. @type {Map<string, JobEvent>} */
  #events = new Map();
  /** By step. @type {Map<number, Metrics>} */
  #steps = new Map();

  /** Adds events in any order; known ones are ignored. @param {readonly JobEvent[]} events */
  add(events) {
    for (const event of events) {
      this.#events.set(event.id, event);
      const { step } = event.data;
      if (event.type === 'metrics' && typeof step === 'number') this.#steps.set(step, event.data);
    }
  }

  /** Reads a job's events from the newest back to the known ones. @param {string} jobId */
  async update(jobId) {
    let after = '';
    while (true) {
      /** @type {{ data: JobEvent[], has_more: boolean, last_id: string | null }} */
      const page = await requestJson(
        `v1/fine_tuning/jobs/${encodeURIComponent(jobId)}/events?limit=${PAGE_SIZE}${after}`,
      );
      const isKnown = page.data.some(({ id }) => this.#events.has(id));
      this.add(page.data);
      if (!page.has_more || isKnown) return;
      after = `&after=${page.last_id}`;
    }
  }

  get count() {
    return this.#events.size;
  }

  /** Newest first. Ids grow with time. @returns {JobEvent[]} */
  events() {
    return [...this.#events.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** Returns the steps, then the values of each metric; null: not measured. @param {readonly MetricName[]} keys */
  points(keys) {
    const steps = [...this.#steps].sort(([a], [b]) => a - b);
    const curves = keys.map((key) =>
      steps.map(([, metrics]) => {
        const value = metrics[key];
        return typeof value === 'number' && Number.isFinite(value) ? value : null;
      }),
    );
    return /** @type {import('./chart.js').Points} */ ([steps.map(([step]) => step), ...curves]);
  }

  /** The metrics of the newest step. @returns {Metrics | undefined} */
  last() {
    return this.at([...this.#steps.keys()].reduce((a, b) => Math.max(a, b), 0));
  }

  /** The metrics of one step. @param {number} step @returns {Metrics | undefined} */
  at(step) {
    return this.#steps.get(step);
  }

  /** The metrics of the newest step with a validation. @returns {Metrics | undefined} */
  lastValidated() {
    const steps = [...this.#steps].filter(
      ([, step]) => (step.full_valid_loss ?? step.full_valid_mean_reward) !== undefined,
    );
    return steps.sort(([a], [b]) => b - a)[0]?.[1];
  }

  /** The newest warning of each kind, newest first. */
  warnings() {
    const events = this.events().filter(({ level }) => level === 'warn');
    const newest = new Map(
      events.toReversed().map((event) => [event.data.code ?? event.message, event]),
    );
    return [...newest.values()].reverse();
  }
}

/**
 * Combines one metric of several jobs into one chart: all steps, then a curve for each job.
 * @param {readonly EventLog[]} logs
 * @param {MetricName} key
 * @returns {import('./chart.js').Points}
 */
export function overlayCurves(logs, key) {
  const curves = logs.map((log) => {
    const [steps, values] = log.points([key]);
    return new Map(steps.map((step, i) => [step, values?.[i] ?? null]));
  });
  const steps = [...new Set(curves.flatMap((curve) => [...curve.keys()]))].sort((a, b) => a - b);
  return [steps, ...curves.map((curve) => steps.map((step) => curve.get(step) ?? null))];
}
